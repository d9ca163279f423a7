"""Pictures in LMDB, written by the package: LSUN's folders, single files, copies in several sizes."""

import gc
import pickle
import sys

import numpy as np
import pytest
import torch
from record_files import encoded, epoch, everything, random_pictures, same, write_lmdb

from datamodules import ImageFolderDataModule, LMDBDataModule
from datamodules.checking import check
from datamodules.datasets import SPLITS
from datamodules.formats.recognising import format_at
from lit_gen.cli.commands.sources import read_source

lmdb = pytest.importorskip("lmdb")

PICTURES = random_pictures(40)


def values(indices=range(40), kind="WEBP"):
    return {f"{i:040x}": encoded(PICTURES[i], kind) for i in indices}


def module(root, **options):
    defaults = {"image_size": 6, "batch_size": 4, "val_share": 0, "test_share": 0, "seed": 0}
    return LMDBDataModule(root, **{**defaults, **options})


def test_folders_as_of_lsun_say_classes_and_splits(tmp_path):
    for name, indices in (
        ("bedroom_train_lmdb", range(10)),
        ("bedroom_val_lmdb", range(10, 15)),
        ("church_outdoor_train_lmdb", range(15, 30)),
    ):
        write_lmdb(tmp_path / "lsun" / name, values(indices, "PNG"))
    (tmp_path / "lsun" / "list.txt").touch()
    data = module(tmp_path / "lsun", test_share=0.2)
    assert (data.class_names, data.image_shape, data.name) == (("bedroom", "church_outdoor"), (3, 6, 6), "lsun")
    assert [len(data.dataset(split)) for split in SPLITS] == [20, 5, 5]
    images, labels = everything(data, "val")
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), PICTURES[10:15])
    assert labels.tolist() == [0] * 5
    images, labels = (torch.cat(parts) for parts in zip(*(everything(data, s) for s in ("train", "test")), strict=True))
    place = {picture.tobytes(): i for i, picture in enumerate(PICTURES)}
    found = [place[image.permute(1, 2, 0).numpy().tobytes()] for image in images]
    assert sorted(found) == [*range(10), *range(15, 30)]
    assert labels.tolist() == [int(i >= 15) for i in found]
    assert "left out 1 .txt" in data.summary().line()
    assert format_at(str(tmp_path / "lsun")).data_module == "LMDBDataModule"
    assert module(tmp_path / "lsun", labels="none").num_classes == 0
    source = read_source(str(tmp_path / "lsun"), "val", "uint8", None)
    assert (source.image_shape, source.class_names) == ((3, 6, 6), ("bedroom", "church_outdoor"))
    assert len(source.dataset("")) == 5


@pytest.mark.parametrize("subdir", [True, False])
def test_one_data_base_gives_what_files_give(tmp_path, subdir):
    contents = values()
    path = write_lmdb(tmp_path / "photos.lmdb", {**contents, "length": b"40"}, subdir)
    (tmp_path / "files").mkdir()
    for name, content in contents.items():
        (tmp_path / "files" / f"{name}.webp").write_bytes(content)
    for options in ({}, {"channels": 1}, {"image_size": (4, 9)}):
        files = ImageFolderDataModule(tmp_path / "files", **{"image_size": 6, **options}, val_share=0, test_share=0)
        data = module(path, **options)
        assert same(everything(data), everything(files))
    assert (data.class_names, data.summary().found.left_out) == ((), {"key length": 1})
    assert format_at(str(path)).data_module == "LMDBDataModule"


def test_order_is_of_seed_and_epoch_for_any_workers_and_a_data_base_is_open_once(tmp_path):
    path = write_lmdb(tmp_path / "x_lmdb", values())
    data = module(path)
    first = epoch(data)
    assert not same(epoch(data, 1), first)
    assert same(epoch(module(path)), first)  # while the other has it open
    assert same(epoch(module(path, num_workers=2)), first)  # forks that inherit it
    assert same(epoch(data), first)  # and after they are gone
    records = data.collection.records
    assert len(pickle.dumps(records)) < 10_000
    assert pickle.loads(pickle.dumps(records)).content(3) == records.content(3)
    for cache in ("ram", "disk"):
        folder = str(tmp_path / "cached") if cache == "disk" else None
        cached = module(path, cache=cache, cache_folder=folder)
        assert same(epoch(cached), first)
        assert same(epoch(cached), first)


def test_a_data_base_is_closed_with_its_last_reader(tmp_path):
    path = write_lmdb(tmp_path / "x_lmdb", values(range(4)))
    data = module(path)
    everything(data)
    del data
    gc.collect()
    with lmdb.open(str(path), readonly=True, lock=False) as opened:
        assert opened.stat()["entries"] == 4


def test_copies_in_several_sizes_are_told_apart(tmp_path):
    contents = {f"{size}-{i:05d}": encoded(PICTURES[i], "PNG") for size in (8, 16) for i in range(6)}
    path = write_lmdb(tmp_path / "ffhq", {**contents, "length": b"6"})
    with pytest.raises(ValueError, match=r"ffhq: its keys begin with '16-', '8-': the pictures in several sizes\?"):
        module(path).class_names  # noqa: B018
    data = module(path, prefix="8-")
    assert len(data.dataset("train")) == 6
    assert data.summary().found.left_out == {"key length": 1, "keys without '8-'": 6}
    with pytest.raises(ValueError, match=r"no key that begins with '32-'"):
        module(path, prefix="32-").class_names  # noqa: B018


def test_names_that_are_not_clear_are_refused(tmp_path):
    for root, names, said in (
        ("a", ("cat_train_lmdb", "dog_lmdb"), r"dog_lmdb says no split, beside cat_train_lmdb"),
        ("b", ("cat_train_lmdb", "dog_train_lmdb", "test_lmdb"), r"test_lmdb says no class, beside cat, dog"),
    ):
        for i, name in enumerate(names):
            write_lmdb(tmp_path / root / name, values([i]))
        with pytest.raises(ValueError, match=said) as error:
            module(tmp_path / root).class_names  # noqa: B018
        assert "\n" not in str(error.value)
    assert len(module(tmp_path / "b", labels="none").dataset("test")) == 1
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match=r"neither an LMDB, a folder with data.mdb or a file, nor a folder of some"):
        module(tmp_path / "c").class_names  # noqa: B018
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        module(tmp_path / "d").class_names  # noqa: B018
    with pytest.raises(ValueError, match="labels='folders': must be"):
        module(tmp_path / "b", labels="folders")


def test_damage_is_named_in_a_line(tmp_path):
    path = write_lmdb(tmp_path / "x_lmdb", values())
    content = (path / "data.mdb").read_bytes()
    for cut in (0, 100, len(content) // 2, len(content) - 4096):
        (tmp_path / f"{cut}_lmdb").mkdir()
        (tmp_path / f"{cut}_lmdb" / "data.mdb").write_bytes(content[:cut])
        with pytest.raises(ValueError, match=rf"{cut}_lmdb: can't be read: ") as error:
            module(tmp_path / f"{cut}_lmdb").class_names  # noqa: B018
        assert "\n" not in str(error.value)
    (tmp_path / "text.lmdb").write_bytes(b"no data base" * 1000)
    with pytest.raises(ValueError, match=r"text.lmdb: can't be read: .*not an LMDB"):
        module(tmp_path / "text.lmdb").class_names  # noqa: B018
    odd = {"a": b"no picture", "b": encoded(PICTURES[3])[:30]}
    odd = write_lmdb(tmp_path / "odd_lmdb", {**values(range(3)), **odd})
    assert [error.partition(": ")[2][:6] for error in check(module(odd)).found.errors] == ["key a:", "key b:"]
    with pytest.raises(ValueError, match=r"odd_lmdb: key a: not a readable image"):
        everything(module(odd))


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    path = write_lmdb(tmp_path / "x_lmdb", values(range(3)))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ModuleNotFoundError, match=r"lit-gen\[lmdb\]"):
        module(path).class_names  # noqa: B018


def test_transparent_pictures_are_read_as_said(tmp_path):
    clear = np.zeros((6, 6, 4), np.uint8)
    path = write_lmdb(tmp_path / "x_lmdb", {str(i): encoded(clear) for i in range(4)})
    assert everything(module(path))[0].unique().tolist() == [255]
    assert everything(module(path, alpha="drop"))[0].unique().tolist() == [0]
    assert any("alpha channel" in text for text in module(path).summary().warnings)
