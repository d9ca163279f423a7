"""Hugging Face's data sets on the disk: what the package writes is read, in an order that seed and epoch decide."""

import io
import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from record_files import classes, encoded, epoch, everything, features, random_pictures, same, write_lmdb, write_parquet

from datamodules import HuggingFaceDataModule, ImageFolderDataModule, LMDBDataModule
from datamodules.checking import check
from datamodules.datasets import SPLITS
from datamodules.formats import tables
from datamodules.formats.recognising import format_at
from lit_gen.cli.commands.sources import read_source

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

NAMES = ("cat", "dog", "owl")
PICTURES = random_pictures(60)
LABELS = [i % 3 for i in range(60)]


def module(root, **options):
    defaults = {"image_size": 6, "batch_size": 4, "val_share": 0, "test_share": 0, "seed": 0}
    return HuggingFaceDataModule(root, **{**defaults, **options})


def holds(data, split, pictures, labels):
    images, found = everything(data, split)
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), pictures)
    assert found.tolist() == list(labels)


@pytest.fixture
def table(tmp_path):
    return write_parquet(tmp_path / "photos.parquet", [encoded(p) for p in PICTURES], LABELS, NAMES)


def dataset_of(datasets, pictures=PICTURES, labels=LABELS, image="image", label="label"):
    kinds = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=list(NAMES))})
    return datasets.Dataset.from_dict({image: [Image.fromarray(p) for p in pictures], label: labels}, features=kinds)


# What the package writes


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    found = pytest.importorskip("datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(found.config, "HF_HUB_OFFLINE", True)
    found.disable_progress_bars()
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return found


def test_to_parquet_and_save_to_disk_are_read(datasets, tmp_path):
    whole = dataset_of(datasets)
    whole.to_parquet(tmp_path / "whole.parquet", batch_size=25)
    whole.save_to_disk(tmp_path / "saved", num_shards=3)
    for root in ("whole.parquet", "saved"):
        data = module(tmp_path / root)
        assert (data.class_names, data.image_shape, data.name) == (NAMES, (3, 6, 6), root)
        holds(data, "train", PICTURES, LABELS)
        assert data.summary().warnings == ()
        assert format_at(str(tmp_path / root)).data_module == "HuggingFaceDataModule"
    shards = tmp_path / "repository" / "data"
    shards.mkdir(parents=True)
    for i in range(2):
        whole.select(range(20 * i, 20 * i + 20)).to_parquet(shards / f"train-{i:05d}-of-00002.parquet")
    whole.select(range(40, 60)).to_parquet(shards / "validation-00000-of-00001.parquet")
    data = module(tmp_path / "repository", test_share=0.2)
    assert [len(data.dataset(split)) for split in SPLITS] == [32, 20, 8]
    holds(data, "val", PICTURES[40:], LABELS[40:])


def test_a_dictionary_of_splits_is_read_and_other_splits_are_told(datasets, tmp_path):
    whole = dataset_of(datasets)
    parts = {"train": whole.select(range(30)), "test": whole.select(range(30, 50))}
    unlabelled = dataset_of(datasets, PICTURES[50:], [-1] * 10)  # the package's number for none
    datasets.DatasetDict({**parts, "unsupervised": unlabelled}).save_to_disk(tmp_path / "saved")
    data = module(tmp_path / "saved")
    assert [len(data.dataset(split)) for split in SPLITS] == [30, 0, 20]
    holds(data, "test", PICTURES[30:50], LABELS[30:50])
    assert data.summary().warnings == ("left out the split unsupervised",)


def test_paths_in_the_place_of_bytes_are_read_and_told(datasets, tmp_path):
    for i, picture in enumerate(PICTURES[:12]):
        folder = tmp_path / "files" / NAMES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{i:02d}.png")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "files"), split="train")
    loaded.to_parquet(tmp_path / "local.parquet")
    if pq.read_table(tmp_path / "local.parquet")["image"][0]["bytes"].as_py() is None:
        data = module(tmp_path / "local.parquet")
        files = ImageFolderDataModule(tmp_path / "files", 6, val_share=0, test_share=0)
        assert data.class_names == files.class_names
        assert same(everything(data), everything(files))
        assert data.summary().warnings == ("12 of 12 rows hold a path in the place of bytes, which is read",)
    paths = [f"{NAMES[i % 3]}/{i:02d}.png" for i in range(12)]  # below the table's folder
    data = module(write_parquet(tmp_path / "files" / "own.parquet", [None] * 12, paths=paths, group=5))
    holds(data, "train", PICTURES[:12], [0] * 12)
    assert "12 of 12 rows hold a path" in data.summary().warnings[0]
    (tmp_path / "files" / paths[7]).unlink()
    with pytest.raises(ValueError, match=r"own.parquet: row 7: no bytes in 'image', and its path can't be read: .*07"):
        data.dataset("train")[7]


def test_a_name_on_the_hub_is_loaded_by_the_package(datasets, monkeypatch, tmp_path):
    dataset_of(datasets).to_parquet(tmp_path / "train.parquet")
    asked, load = [], datasets.load_dataset

    def load_dataset(name, config, **options):
        asked.append((name, config))
        return load("parquet", data_files={"train": str(tmp_path / "train.parquet")}, **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = module("owner/pets", config="small")
    assert (data.name, data.class_names) == ("pets", NAMES)
    holds(data, "train", PICTURES, LABELS)
    assert asked == [("owner/pets", "small")]
    assert same(epoch(module("owner/pets", num_workers=1)), epoch(data))
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(
        ValueError, match=r"root='owner/pets': there is no such file .* from the Hub .*Offline"
    ) as error:
        module("owner/pets").class_names  # noqa: B018
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"lit-gen\[datasets\]"):
        module("owner/pets").class_names  # noqa: B018


# Columns


def test_columns_are_found_or_said(tmp_path):
    pictures = pa.array([encoded(p) for p in PICTURES[:6]])
    labels = {"fine_label": pa.array([0, 1, 0, 1, 0, 1]), "coarse_label": pa.array(["a", "b", "c"] * 2)}
    told = {"fine_label": classes("x", "y"), "coarse_label": {"_type": "Value"}}
    table = pa.table({"img": pictures, **labels, "author": ["me"] * 6}).replace_schema_metadata(features(**told))
    pq.write_table(table, tmp_path / "x.parquet")
    data = module(tmp_path / "x.parquet")
    assert data.class_names == ("x", "y")
    holds(data, "train", PICTURES[:6], [0, 1] * 3)
    assert "left out 1 column coarse_label, 1 column author" in data.summary().line()
    coarse = module(tmp_path / "x.parquet", label_column="coarse_label", image_column="img")
    assert coarse.class_names == ("a", "b", "c")
    assert everything(coarse)[1].tolist() == [0, 1, 2] * 2
    assert module(tmp_path / "x.parquet", label_column="none").class_names == ()
    for options, said in (
        ({"image_column": "image"}, r"image_column='image': it isn't there; .*x.parquet has the columns img, fine"),
        ({"image_column": "author"}, r"image_column='author': it has no pictures"),
        ({"label_column": "img"}, r"label_column='img': it is binary"),
        ({"label_column": "class"}, r"label_column='class': it isn't there; .*fine_label \(int64\)"),
    ):
        with pytest.raises(ValueError, match=said):
            module(tmp_path / "x.parquet", **options).class_names  # noqa: B018
    pq.write_table(pa.table({"before": pictures, "after": pictures}), tmp_path / "two.parquet")
    with pytest.raises(ValueError, match=r"two.parquet: pictures may be before or after; say which by image_column"):
        module(tmp_path / "two.parquet").class_names  # noqa: B018
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"none.parquet: none of the columns text holds encoded pictures"):
        module(tmp_path / "none.parquet").class_names  # noqa: B018
    both = pa.table({"image": pictures, "a": labels["fine_label"], "b": labels["fine_label"]})
    both = both.replace_schema_metadata(features(a=classes("x", "y"), b=classes("x", "y")))
    pq.write_table(both, tmp_path / "both.parquet")
    assert module(tmp_path / "both.parquet").summary().warnings == ("labels may be a, b: say which by label_column",)


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        ([0, 1, 5], NAMES, r"row 2: the label 5 in 'label' of 3 classes"),
        ([0, -1, 1], NAMES, r"row 1: the label -1 in 'label' of 3 classes; -1 stands for none: label_column=none"),
        ([0, None, 1], NAMES, r"row 1: no label in 'label'"),
        ([0, -2, 1], (), r"row 1: the label -2 in 'label' and labels count from 0"),
    ],
)
def test_labels_out_of_range_are_named(tmp_path, labels, names, said):
    path = write_parquet(tmp_path / "x.parquet", [encoded(p) for p in PICTURES[:3]], labels, names)
    with pytest.raises(ValueError, match=f"x.parquet: {said}") as error:
        module(path).class_names  # noqa: B018
    assert "\n" not in str(error.value)
    assert module(path, label_column="none").num_classes == 0


def test_files_that_differ_are_refused(tmp_path):
    contents = [encoded(p) for p in PICTURES[:3]]
    write_parquet(tmp_path / "x" / "train-0.parquet", contents, [0, 1, 2], NAMES)
    write_parquet(tmp_path / "x" / "test-0.parquet", contents)
    with pytest.raises(ValueError, match=r"test-0.parquet: column of labels none, but .*train-0.parquet has label"):
        module(tmp_path / "x").class_names  # noqa: B018
    assert len(module(tmp_path / "x", label_column="none").dataset("test")) == 3
    write_parquet(tmp_path / "x" / "test-0.parquet", contents, [0, 1, 2], ("dog", "cat", "owl"))
    with pytest.raises(ValueError, match=r"test-0.parquet: names of classes \('dog', 'cat', 'owl'\), but"):
        module(tmp_path / "x").class_names  # noqa: B018


# Splits


def test_splits_are_whole_words_of_file_names_or_folders(tmp_path):
    def write(*names):
        for i, name in enumerate(names):
            write_parquet(tmp_path / name, [encoded(p) for p in PICTURES[10 * i : 10 * i + 10]])

    write("a/train/0000.parquet", "a/validation/0000.parquet", "a/test/0000.parquet")
    data = module(tmp_path / "a", val_share=0.5)
    assert [len(data.dataset(split)) for split in SPLITS] == [10, 10, 10]
    write("b/trained-1.parquet", "b/testament_2.parquet")
    data = module(tmp_path / "b", test_share=0.25)
    assert [len(data.dataset(split)) for split in SPLITS] == [15, 0, 5]
    again = module(tmp_path / "b", test_share=0.25, seed=7)
    assert same(everything(data, "test"), everything(again, "test"))  # fixed, whatever the seed
    write("c/train-0.parquet", "c/more.parquet")
    with pytest.raises(ValueError, match=r"more.parquet: its name says no split, beside train-0.parquet"):
        module(tmp_path / "c").dataset("train")
    write("d/test-0.parquet")
    with pytest.raises(ValueError, match=r"only the splits test, and none to train on"):
        module(tmp_path / "d").dataset("train")
    write("e/cats/train-0.parquet", "e/dogs/train-0.parquet")
    with pytest.raises(ValueError, match=r"\.parquet files in several folders \(cats, dogs\)"):
        module(tmp_path / "e").dataset("train")


# Order


def test_a_window_of_row_groups_is_read_once_and_the_order_is_of_seed_and_epoch(table, monkeypatch):
    reads, read = [], tables.ParquetRows._read
    monkeypatch.setattr(tables.ParquetRows, "_read", lambda self, *at: reads.append(at[1]) or read(self, *at))
    data = module(table, window=20)
    first = epoch(data)
    assert sorted(set(reads)) == [0, 1, 2, 3, 4, 5]
    assert len(reads) == 6
    assert same(epoch(module(table, window=20, num_workers=2)), first)
    assert not same(epoch(module(table, window=20), 1), first)
    assert len({label.item() for label in first[1]}) > 1
    order = list(data.train_dataloader().sampler)
    for start in range(0, 60, 20):
        assert len({i // 10 for i in order[start : start + 20]}) == 2
    whole = list(module(table).train_dataloader().sampler)  # all fit into a window
    assert len({i // 10 for i in whole[:20]}) > 2
    assert sorted(whole) == list(range(60))


@pytest.mark.parametrize("window", [10, 15, 20])
def test_row_groups_of_which_a_split_has_some_rows_are_kept_for_a_window(table, window, monkeypatch):
    """A window then spans more row groups than one of whole ones."""
    reads, read = [], tables.ParquetRows._read
    data = module(table, window=window, batch_size=5, val_share=0.3, test_share=0.2)
    assert len(data.dataset("train")) == 30
    assert len(np.unique(data.dataset("train").pieces)) == 6
    loader = data.train_dataloader()
    monkeypatch.setattr(tables.ParquetRows, "_read", lambda self, *at: reads.append(at[1]) or read(self, *at))
    list(loader)
    assert len(reads) <= 6 + 30 / window  # one at a window's end belongs to two windows


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_one_order_and_a_resumed_epoch_goes_on(table, world_size, monkeypatch):
    def part(rank, world_size):
        data = module(table, window=20, batch_size=8)
        monkeypatch.setattr(data, "_process", lambda: (rank, world_size))
        return epoch(data, 3)

    whole, parts = part(0, 1), [part(rank, world_size) for rank in range(world_size)]
    for i, tensor in enumerate(whole):
        assert torch.equal(torch.stack([found[i] for found in parts], 1).flatten(0, 1), tensor)
    resumed = module(table, window=20, batch_size=8, num_workers=1).train_dataloader()
    resumed.load_state_dict({**resumed.state_dict(), "epoch": 3, "batch": 5})
    resumed.sampler.set_epoch(3)
    assert same([tensor for batch in resumed for tensor in batch], whole[10:])


def test_a_window_follows_from_what_a_process_may_hold(table, monkeypatch):
    monkeypatch.setattr(tables, "HELD", int(3.5 * module(table).collection.records.largest))
    data = module(table)
    assert data.collection.records.window == 30
    reads, read = [], tables.ParquetRows._read
    monkeypatch.setattr(tables.ParquetRows, "_read", lambda self, *at: reads.append(at[1]) or read(self, *at))
    epoch(data)
    assert len(reads) == 6
    assert len(data.collection.records._groups.value) <= 4
    monkeypatch.setattr("datamodules.formats.huggingface.LARGE", 100)
    assert "row groups of up to 0.0 GiB" in module(table).summary().warnings[0]


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_gives_the_same_and_reads_no_row_twice(table, tmp_path, cache, monkeypatch):
    options = {"cache": cache, "cache_folder": str(tmp_path / "cached") if cache == "disk" else None}
    data, plain = module(table, **options), module(table)
    for number in range(2):
        assert same(epoch(data, number), epoch(plain, number))
        monkeypatch.setattr(type(data.collection.records), "content", lambda *_: pytest.fail("read again"))
        assert same(epoch(data, 0), epoch(data, 0))
        monkeypatch.undo()


def test_records_are_pickled_without_what_is_open(table, tmp_path):
    data = module(table)
    expected = everything(data)
    for records in (data.collection.records, arrow(tmp_path / "x.arrow").collection.records):
        records.content(0)
        assert len(pickle.dumps(records)) < 10_000
        assert pickle.loads(pickle.dumps(records)).content(3) == records.content(3)
    assert same(everything(pickle.loads(pickle.dumps(module(table)))), expected)


def arrow(path, count=20):
    table = pa.table({"image": [encoded(p) for p in PICTURES[:count]]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=8)
    return module(path)


# Damage


def damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path.name}: can't be read: ") as error:
        module(path).dataset("train")
    assert "\n" not in str(error.value)


def test_cut_off_files_are_named_in_a_line(table, tmp_path):
    content = table.read_bytes()
    for size in (0, 4, len(content) // 2, len(content) - 1):
        damaged(tmp_path / "cut.parquet", content[:size])
    holds(arrow(tmp_path / "x.arrow"), "train", PICTURES[:20], [0] * 20)
    content = (tmp_path / "x.arrow").read_bytes()
    for size in (0, 4, 100, len(content) // 2, len(content) - 8):
        damaged(tmp_path / "cut.arrow", content[:size])


def test_a_folder_that_save_to_disk_has_not_finished_is_named(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    with pytest.raises(ValueError, match=r"state.json names data-00000-of-00001.arrow, which isn't there"):
        module(folder).dataset("train")
    (folder / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state.json: not as save_to_disk writes it"):
        module(folder).dataset("train")
    (folder / "state.json").unlink()
    with pytest.raises(ValueError, match=r"neither a .parquet file below .* nor what save_to_disk writes"):
        module(folder).dataset("train")


def test_rows_that_are_no_pictures_are_listed_by_check(tmp_path):
    contents = [encoded(p) for p in PICTURES[:20]]
    contents[3], contents[15], contents[17] = b"no picture", contents[15][:40], None
    path = write_parquet(tmp_path / "x.parquet", contents)
    errors = check(module(path)).found.errors
    assert [error.partition(": ")[2][:6] for error in errors] == ["row 3:", "row 15", "row 17"]
    assert all(str(path) in error for error in errors)
    with pytest.raises(ValueError, match=r"x.parquet: row 3: not a readable image"):
        everything(module(path))


def test_damage_within_a_row_group_is_told(tmp_path):
    table = pa.table({"image": [encoded(p) for p in PICTURES[:20]]})
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=10, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 20] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x.parquet: row group 0: can't be read: .*"):
        everything(module(path))


def test_wrong_paths_and_options_are_named(tmp_path):
    for options, said in (
        ({"root": "nowhere.parquet"}, "root='nowhere.parquet': there is no such file or folder"),
        ({"root": "/no/where"}, "root='/no/where': there is no such file or folder"),
    ):
        with pytest.raises(FileNotFoundError, match=said):
            module(**options).class_names  # noqa: B018
    (tmp_path / "x.txt").touch()
    with pytest.raises(ValueError, match=r"accepted files are .parquet and .arrow"):
        module(tmp_path / "x.txt").class_names  # noqa: B018
    with pytest.raises(ValueError, match="window=0: must be at least 1"):
        module(tmp_path, window=0)
    with pytest.raises(ValueError, match="config='a': only a data set of the Hub"):
        module(tmp_path, config="a").class_names  # noqa: B018


# Pictures as everywhere else


def test_pictures_are_decoded_as_those_of_a_folder(tmp_path):
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    kinds = {
        "turned.jpg": (rng.integers(256, size=(9, 7, 3), dtype=np.uint8), "JPEG", {"exif": exif}),
        "clear.png": (rng.integers(256, size=(8, 8, 4), dtype=np.uint8), "PNG", {}),
        "deep.png": (rng.integers(65536, size=(5, 12), dtype=np.uint16), "PNG", {}),
        "grey.webp": (rng.integers(256, size=(7, 7, 3), dtype=np.uint8), "WEBP", {"lossless": True}),
    }
    contents = []
    (tmp_path / "files").mkdir()
    for name in sorted(kinds):
        array, kind, options = kinds[name]
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, kind, **options)
        contents.append(buffer.getvalue())
        (tmp_path / "files" / name).write_bytes(contents[-1])
    path = write_parquet(tmp_path / "x.parquet", contents)
    for options in ({}, {"channels": 1}, {"alpha": "drop"}, {"image_size": (4, 9)}):
        own = module(path, **options)
        files = ImageFolderDataModule(tmp_path / "files", **{"image_size": 6, **options}, val_share=0, test_share=0)
        assert same(everything(own), everything(files))
    with pytest.raises(ValueError, match=r"row 0: .*max_pixels=10"):
        everything(module(path, max_pixels=10))


def test_evaluate_and_encode_read_tables_at_their_own_size(table, tmp_path):
    source = read_source(str(table), "test", "uint8", None)
    assert (source.image_shape, source.class_names, source.resize) == ((3, 6, 6), NAMES, "none")
    images, labels = source.dataset("").__getitems__([5, 2])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), PICTURES[[5, 2]])
    assert labels.tolist() == [2, 2]
    assert read_source(str(table), "test", "uint8", 4).image_shape == (3, 4, 4)
    write_parquet(tmp_path / "x" / "train-0.parquet", [encoded(p) for p in PICTURES[:10]])
    with pytest.raises(ValueError, match=r"no images of --split test; there are train"):
        read_source(str(tmp_path / "x"), "test", "uint8", None)
    (tmp_path / "x" / "photo.png").write_bytes(encoded(PICTURES[0]))
    assert format_at(str(tmp_path / "x")) is None  # a table beside pictures describes them


def test_the_first_frame_of_a_gif_is_read_wherever_it_lies(tmp_path):
    pytest.importorskip("lmdb")
    frames, buffer = [Image.new("P", (6, 6), i) for i in (3, 200)], io.BytesIO()
    for frame in frames:
        frame.putpalette([value for grey in range(256) for value in (grey, 255 - grey, 0)])
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    content = buffer.getvalue()
    for name in ("moving.gif", "misnamed.jpg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(content)
    write_parquet(tmp_path / "moving.parquet", [content])
    write_lmdb(tmp_path / "moving.lmdb", {"0": content})
    options = {"image_size": 6, "val_share": 0, "test_share": 0}
    sources = [ImageFolderDataModule(tmp_path / name, **options) for name in ("moving.gif", "misnamed.jpg")]
    for data in (*sources, module(tmp_path / "moving.parquet"), LMDBDataModule(tmp_path / "moving.lmdb", **options)):
        image, _ = everything(data)
        assert image[0, :, 0, 0].tolist() == [3, 252, 0]
        assert check(data).found.errors == ()


ONE_HOT = [[float(i % 3 == k) for k in range(4)] for i in range(6)]


@pytest.mark.parametrize(
    ("labels", "found", "count"),
    [
        (pa.array([0.0, 1.0, 2.0] * 2), [0, 1, 2] * 2, 3),  # as pandas has numbers of which some once were missing
        (pa.array(ONE_HOT), [0, 1, 2] * 2, 4),
        (pa.array([[bool(value) for value in row] for row in ONE_HOT], pa.list_(pa.bool_(), 4)), [0, 1, 2] * 2, 4),
    ],
)
def test_labels_as_whole_floats_or_one_hot_lists(tmp_path, labels, found, count):
    data = module(write_parquet(tmp_path / "x.parquet", [encoded(p) for p in PICTURES[:6]], labels))
    holds(data, "train", PICTURES[:6], found)
    assert data.num_classes == count
    assert not any("label" in warning for warning in data.summary().warnings)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (pa.array([0.0, 0.25] * 3), "row 1: 0.25 in 'label' is no number of a class"),
        (pa.array([[1, 1], [1, 0]] * 3), r"'label' \(list<.*>\): lists are labels where they are one-hot"),
        (pa.array([[5], [1, 7]] * 3), r"'label' \(list<.*>\): lists are labels where they are one-hot"),
        (pa.array([[1, None], [1, 0]] * 3), r"'label' \(list<.*>\): lists are labels where they are one-hot"),
    ],
)
def test_values_that_are_no_classes_are_told_and_refused_where_they_are_asked_for(tmp_path, labels, told):
    path = write_parquet(tmp_path / "x.parquet", [encoded(p) for p in PICTURES[:6]], labels)
    data = module(path)
    assert (data.class_names, len(data.summary().warnings)) == ((), 1)
    with pytest.raises(ValueError, match=told):
        module(path, label_column="label").read()
    assert module(path, label_column="none").summary().warnings == ()


def test_a_missing_number_of_pandas_is_a_missing_label(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", [encoded(p) for p in PICTURES[:2]], pa.array([1.0, float("nan")]))
    with pytest.raises(ValueError, match=r"x\.parquet: row 1: no label in 'label'; label_column=none"):
        module(path).read()
