"""Names of splits and labels in every form: folders, archives, shards and arrays read them by one table."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ArrayDataModule, ImageFolderDataModule, StreamingDataModule
from datamodules.labels import Classes, in_order
from datamodules.splits import SPLIT_NAMES, split_in, split_named

rng = np.random.default_rng(0)
ODD = [("Training", "Testing"), ("train", "valid", "test"), ("TRAIN", "Dev"), ("trainset", "eval", "testset")]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(256, size=(6, 6, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, names) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png())
    return root


def zipped(folder: Path, wrapped: bool = False) -> Path:
    """The same files in a .zip, perhaps within one folder."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{'all/' if wrapped else ''}{file.relative_to(folder)}")
    return path


def folder(root, **options) -> ImageFolderDataModule:
    return ImageFolderDataModule(root, image_size=6, batch_size=2, **options)


def sizes(data) -> list[int]:
    return [len(data.dataset(split)) for split in ("train", "val", "test")]


def test_whole_names_alone_say_a_split():
    assert {name: split_named(name.upper()) for names in SPLIT_NAMES.values() for name in names} == {
        name: split for split, names in SPLIT_NAMES.items() for name in names
    }
    assert [split_named(name) for name in ("crash-test", "test_1", "trains", "", "vali")] == [None] * 5
    names = ("x-valid-0", "Train_000", "crash-000", "photos.testing.3", "evaluated-1")
    assert [split_in(name) for name in names] == ["val", "train", None, "test", None]
    with pytest.raises(ValueError, match="several splits, train and val"):
        split_in("train-val-0")


@pytest.mark.parametrize("names", ODD)
@pytest.mark.parametrize("form", ["folder", "zip", "wrapped zip"])
def test_folders_of_any_usual_name_are_splits(tmp_path, names, form):
    root = write(tmp_path / "x", [f"{name}/{kind}/{i}.png" for name in names for kind in "ab" for i in range(4)])
    data = folder(root if form == "folder" else zipped(root, form == "wrapped zip"), val_share=0.25, test_share=0.25)
    assert data.class_names == ("a", "b")
    given = {split_named(name) for name in names}
    expected = [8 - 2 * (3 - len(given)), *(8 if split in given else 2 for split in ("val", "test"))]
    assert sizes(data) == expected
    for split in given:
        if split != "train":
            assert data.dataset(split).labels.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("names", ODD)
def test_shards_and_arrays_take_the_same_names(tmp_path, names):
    arrays, given = {}, [split_named(name) for name in names]
    for number, name in enumerate(names):
        with tarfile.open(tmp_path / f"photos-{name}-000.tar", "w") as tar:
            for i in range(10 + number):
                info, content = tarfile.TarInfo(f"{i}.png"), png()
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        arrays |= {f"X_{name}": rng.integers(256, size=(10 + number, 4, 4), dtype=np.uint8)}
        arrays |= {f"y_{name}": np.arange(10 + number) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    shards, data = StreamingDataModule(tmp_path), ArrayDataModule(tmp_path / "a.npz", val_share=0.1, test_share=0.1)
    for number, split in enumerate(given):
        assert len(shards.dataset(split)) == 10 + number
        if split != "train":
            assert len(data.dataset(split)) == 10 + number
    assert data.num_classes == 2
    assert data.summary().found.left_out == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/a/0.png", "valid/a/0.png", "cats/0.png"], "train, valid beside cats: are these splits or classes"),
        (["test/0.png", "cats/0.png"], "test beside cats"),
        (["train/a/0.png", "unlabeled/0.png"], "train beside unlabeled"),
        (["train/0.png", "val/0.png", "0.png"], r"train, val beside the picture 0\.png"),
        (["train/0.png", "val/0.png", "valid/0.png"], "'val' and 'valid' both name the split val"),
        (["cat/train/0.png", "cat/test/0.png", "dog/train/0.png"], "cat divides into test and train"),
        (["val/0.png", "test/0.png"], "only the splits val, test"),
        (["train/a/0.png", "train/b/0.png", "test/0.png"], r"test/0\.png lies beside the folders of the 2 classes"),
    ],
)
def test_what_could_be_either_is_an_error_in_one_line(tmp_path, names, message):
    root = write(tmp_path / "x", names)
    for path in (root, zipped(root)):
        with pytest.raises(ValueError, match=message) as error:
            folder(path, val_share=0, test_share=0).dataset("train")
        assert "\n" not in str(error.value)
    assert len(folder(root, splits="none", labels="none", val_share=0, test_share=0).dataset("train")) == len(names)


def test_words_within_names_are_no_splits(tmp_path):
    root = write(tmp_path, [f"{kind}/{i}.png" for kind in ("crash-test", "train", "valley") for i in range(2)])
    assert folder(root).class_names == ("crash-test", "train", "valley")
    flat = write(tmp_path / "flat", [f"test_{i}.png" for i in range(10)])
    assert sizes(folder(flat)) == [8, 1, 1]


def test_a_shard_of_no_split_beside_training_shards_is_an_error(tmp_path):
    for name in ("train-0", "extra-0"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            info = tarfile.TarInfo("a.png")
            info.size = len(content := png())
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(ValueError, match=r"extra-0\.tar says no split, beside train-0\.tar"):
        StreamingDataModule(tmp_path).dataset("train")


# ---- labels


def test_numbers_with_gaps_become_names_and_never_a_million_classes():
    labels = np.array([7, 0, 1_000_000, 7])
    classes = Classes.of([labels])
    assert classes.names == ("0", "7", "1000000")
    assert classes.numbers(labels).tolist() == [1, 0, 2, 1]
    assert Classes.of([np.array([10**12])]).names == (str(10**12),)
    with pytest.raises(ValueError, match="the label 1000000000000 would make"):
        Classes.of([np.array([10**12])], renumber=False)
    assert Classes.of([np.array([1, 2, 3])]).names == ("0", "1", "2", "3")
    assert Classes.of([np.array([1, 2, 3])], renumber=True).names == ("1", "2", "3")
    assert Classes.of([np.array([1, 2])], names=["a", "b", "c"]).names == ("a", "b", "c")
    with pytest.raises(ValueError, match="2 names of classes, but the largest label is 2"):
        Classes.of([np.array([1, 2])], names=["a", "b"])
    words = np.array(["zebra", "horse", "zebra"])
    assert Classes.of([words]).numbers(words).tolist() == [1, 0, 1]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_stylegans_dataset_json_says_the_labels(tmp_path, form):
    names = [f"{i // 4:05d}/img{i:08d}.png" for i in range(12)]
    root = write(tmp_path / "x", names)

    def data():
        return folder(root if form == "folder" else zipped(root), val_share=0, test_share=0)

    assert data().num_classes == 0  # folders through which the files are numbered on
    assert "labels='folders'" in data().summary().warnings[0]
    assert folder(root, labels="folders").class_names == ("00000", "00001", "00002")
    for labels, expected in (
        ([[name, i % 3] for i, name in enumerate(names)], [i % 3 for i in range(12)]),
        ([[name.replace("/", "\\"), np.eye(3, dtype=int)[i % 3].tolist()] for i, name in enumerate(names)], None),
        (None, [0] * 12),
    ):
        (root / "dataset.json").write_text(json.dumps({"labels": labels}))
        read = data()
        assert read.num_classes == (0 if labels is None else 3)
        assert read.dataset("train").labels.tolist() == (expected or [i % 3 for i in range(12)])
        assert read.summary().found.left_out == {}
    (root / "dataset.json").write_text(json.dumps({"labels": [[names[0], 0]]}))
    with pytest.raises(ValueError, match=r"dataset\.json: no label of 00000/img00000001\.png"):
        data().dataset("train")
    (root / "dataset.json").write_text(json.dumps({"labels": [[name, i % 3 or None] for i, name in enumerate(names)]}))
    with pytest.raises(ValueError, match=r"dataset\.json: no label of 00000/img00000000\.png"):
        data().dataset("train")
    (root / "labels.csv").write_text(
        "file,label\n" + "".join(f"{name},{'cat' * (i % 2)}\n" for i, name in enumerate(names))
    )
    with pytest.raises(ValueError, match=r"labels\.csv: .*: no label of 00000/img00000000\.png \(6 without one\)"):
        folder(root, labels=str(root / "labels.csv")).dataset("train")
    (root / "labels.csv").unlink()
    (root / "dataset.json").write_text('{"labels": 3}')
    with pytest.raises(ValueError, match=r"dataset\.json: not a readable file of labels"):
        data().dataset("train")


def test_numbered_folders_whose_files_start_anew_are_classes(tmp_path):
    root = write(tmp_path, [f"{kind:05d}/{i:05d}.png" for kind in range(2) for i in range(5)])
    assert folder(root).class_names == ("00000", "00001")


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("labels.csv", "id,breed\na,poodle\nb,beagle\nc,poodle\n", ("beagle", "poodle")),
        ("labels.csv", "label,width,file\n7,3,a.png\n0,3,b.png\n1000000,3,c.png\n", ("0", "7", "1000000")),
        ("labels.json", '{"a.png": "x", "b.png": "y", "c.png": "x"}', ("x", "y")),
    ],
)
def test_files_of_labels(tmp_path, name, content, names):
    root = write(tmp_path / "x", ["a.png", "b.png", "c.png"])
    (root / name).write_text(content)
    (tmp_path / name).write_text(content)
    for labels in (name, str(tmp_path / name)):
        data = folder(root, labels=labels, val_share=0, test_share=0)
        assert data.class_names == names
        assert len(data.dataset("train").labels.unique()) == len(names)
    (tmp_path / name).write_text("a,b,c\n1,2,3\n")
    with pytest.raises(ValueError, match="not a readable file of labels"):
        folder(root, labels=str(tmp_path / name)).class_names  # noqa: B018
    (tmp_path / name).write_text('{"labels": [["a.png", 1], ["a.png", 2]]}' if "json" in name else "a,b\na,1\na,2\n")
    with pytest.raises(ValueError, match="has the labels 1 and 2"):
        folder(root, labels=str(tmp_path / name)).class_names  # noqa: B018
    with pytest.raises(FileNotFoundError, match=r"labels='nowhere\.csv'"):
        folder(root, labels="nowhere.csv").class_names  # noqa: B018


def test_labels_of_arrays_in_every_form(tmp_path):
    images, numbers = rng.integers(256, size=(6, 4, 4), dtype=np.uint8), np.array([0, 2, 1, 0, 2, 1])
    words = np.array(["cat", "owl", "dog"])[numbers]
    np.save(tmp_path / "labels.npy", numbers)
    (tmp_path / "labels.json").write_text(json.dumps(words.tolist()))
    (tmp_path / "labels.csv").write_text("label\n" + "\n".join(map(str, numbers)))
    cases = [
        ({"images": images, "labels": np.eye(4)[numbers]}, {}, ("0", "1", "2", "3")),
        ({"images": images, "labels": words}, {}, ("cat", "dog", "owl")),
        ({"arr_0": images, "arr_1": numbers}, {}, ("0", "1", "2")),
        ({"pictures": images, "kinds": numbers}, {"images": "pictures", "labels": "kinds"}, ("0", "1", "2")),
        ({"images": images, "labels": numbers, "class_names": np.array(["a", "b", "c"])}, {}, ("a", "b", "c")),
        ({"images": images, "labels": numbers * 500_000}, {}, ("0", "500000", "1000000")),
        ({"images": images, "labels": numbers}, {"labels": "none"}, ()),
        *(({"images": images}, {"labels": str(tmp_path / f"labels.{end}")}, None) for end in ("npy", "csv", "json")),
    ]
    for arrays, options, names in cases:
        np.savez(tmp_path / "x.npz", **arrays)
        data = ArrayDataModule(tmp_path / "x.npz", val_share=0, test_share=0, **options)
        if names is not None:
            assert data.class_names == names
        told = [data.class_names[i] for i in data.dataset("train").labels] if data.num_classes else []
        assert [told.count(name) for name in set(told)] == [2] * len(set(told))
        assert data.summary().found.left_out == ({"array 'labels'": 1} if names == () else {})
    np.savez(tmp_path / "x.npz", images=images, labels=numbers, x_test=images[:2])
    data = ArrayDataModule(tmp_path / "x.npz", val_share=0, test_share=0)
    assert (data.num_classes, data.summary().found.left_out) == (3, {"array 'x_test'": 1})
    np.savez(tmp_path / "x.npz", x_train=images, y_train=numbers, x_val=images, y_val=words)
    with pytest.raises(ValueError, match="numbers in some splits and words in others"):
        ArrayDataModule(tmp_path / "x.npz").num_classes  # noqa: B018
    np.savez(tmp_path / "x.npz", a=images, b=images)
    with pytest.raises(ValueError, match=r"images='c': .*x\.npz holds a, b"):
        ArrayDataModule(tmp_path / "x.npz", images="c").image_shape  # noqa: B018


def test_labels_of_shards_as_json_and_words(tmp_path):
    def shard(*labels):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for i, label in enumerate(labels):
                for suffix, content in (("png", png()), ("json", json.dumps(label).encode()), ("txt", b"caption")):
                    info = tarfile.TarInfo(f"{i}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return StreamingDataModule(tmp_path, batch_size=1)

    data = shard({"label": "owl"}, {"label": "cat"}, {"label": "owl"})
    assert (data.class_names, data.dataset("train").labels.tolist()) == (("cat", "owl"), [1, 0, 1])
    assert data.summary().found.left_out == {".txt": 3}
    assert shard({"label": 0}, {"label": 10**12}).class_names == ("0", str(10**12))
    assert shard({"caption": "x"}).num_classes == 0
    for labels, message in (
        ([{"label": 1}, {"label": "cat"}], "numbers as labels and some have words"),
        ([{"label": 1.5}], r"0\.json holds the label 1\.5"),
        ([{"label": 1}, {}], "has no label, as 1 of 2, and the others have one"),
    ):
        with pytest.raises(ValueError, match=message):
            shard(*labels).num_classes  # noqa: B018


def test_a_conditional_model_needs_images_of_every_class(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((40, 4, 4), np.uint8), labels=np.arange(40) % 3 + 1)

    class Module:
        conditional = True

    class Trainer:
        lightning_module, global_rank, world_size = Module(), 0, 1

    for renumber, names in ((None, ("0", "1", "2", "3")), (True, ("1", "2", "3"))):
        data = ArrayDataModule(tmp_path / "x.npz", renumber=renumber, batch_size=4)
        assert data.class_names == names
        data.trainer = Trainer()
        if renumber:
            assert len(data.train_dataloader()) == 8
        else:
            assert any("no training image of 0" in warning for warning in data.summary().warnings)
            with pytest.raises(ValueError, match=r"no training image of 1 of 4 classes \(0\).*renumber=True"):
                data.train_dataloader()
            Trainer.lightning_module.conditional = False
            assert len(data.train_dataloader()) == 8
            Trainer.lightning_module.conditional = True
    assert torch.unique(data.dataset("train").labels).tolist() == [0, 1, 2]


def test_numbered_folders_are_numbered_by_value(tmp_path):
    names = [str(number) for number in (1, 2, 3, 10, 11, 20)]
    data = folder(write(tmp_path, [f"{name}/{i}.png" for name in names for i in range(4)]))
    assert data.class_names == tuple(names)
    assert in_order(["b", "10", "2"]) == ("10", "2", "b")
