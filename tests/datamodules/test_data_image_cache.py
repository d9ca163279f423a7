import os
import pickle
from collections import namedtuple
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolderDataModule, image_cache
from datamodules.datasets import SPLITS
from datamodules.image_cache import available_memory, in_memory, map_file, needed_bytes
from lit_gen.metrics.statistics import fingerprint_data

rng = np.random.default_rng(0)
SHAPE = (3, 4, 4)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(256, size=(9, 7, 3), dtype=np.uint8)).save(tmp_path / "root" / f"{i:02}.png")
    return tmp_path / "root"


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files decoded in this process, in their order."""
    names, usual = [], image_cache.CachedImageFiles.decoded
    record = lambda self, i: names.append(self.paths[i][-6:]) or usual(self, i)  # noqa: E731
    monkeypatch.setattr(image_cache.CachedImageFiles, "decoded", record)
    return names


def module(root, cache="none", **options):
    options = {"val_share": 0, "test_share": 0, "batch_size": 4, **options}
    return ImageFolderDataModule(str(root), 4, cache=cache, **options)


def epochs(data, count):
    loader = data.train_dataloader()
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        yield torch.cat([images for images, _ in loader])


def files(tmp_path):
    return sorted((tmp_path / "home" / "lit-gen" / "images").glob("*"))


@pytest.mark.parametrize("cache", ["ram", "disk"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_without_a_cache_and_the_second_epoch_needs_no_files(root, cache, num_workers, decoded):
    plain = list(epochs(module(root, flip=True), 3))
    for images, expected in zip(epochs(module(root, cache, num_workers=num_workers, flip=True), 3), plain, strict=True):
        assert torch.equal(images, expected)
        for path in root.iterdir():
            path.unlink()
    if num_workers == 0:
        assert sorted(decoded) == [f"{i:02}.png" for i in range(12)]


def test_every_split_and_label_comes_from_the_right_file(tmp_path, decoded):
    for split, kind in (("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")):
        (tmp_path / "root" / split / kind).mkdir(parents=True)
        for i in range(5):
            pixels = rng.integers(256, size=(4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "root" / split / kind / f"{i}.png")
    plain, cached = (module(tmp_path / "root", cache, test_share=0.3) for cache in ("none", "ram"))
    for split, size in (("train", 7), ("val", 10), ("test", 3)):
        ours, theirs = cached.dataset(split), plain.dataset(split)
        assert len(ours) == size
        order = rng.permutation(size).tolist()
        for _ in range(2):
            for a, b in zip(ours.__getitems__(order), theirs.__getitems__(order), strict=True):
                assert torch.equal(a, b)
        assert fingerprint_data(ours) == fingerprint_data(theirs)
    assert len(decoded) == 20


def test_what_is_handed_out_is_a_copy(root):
    dataset = module(root, "ram").dataset("train")
    first, _ = dataset[0]
    kept = first.clone()
    first.zero_()
    assert torch.equal(dataset[0][0], kept)


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_run_goes_on_in_the_middle_of_an_epoch(root, cache):
    plain = [images for images, _ in module(root).train_dataloader()]
    loader = module(root, cache).train_dataloader()
    next(iter(loader))
    state, resumed = loader.state_dict(), module(root, cache).train_dataloader()
    assert state["batch"] == 1
    resumed.load_state_dict(state)
    for (images, _), expected in zip(resumed, plain[1:], strict=True):
        assert torch.equal(images, expected)


def test_two_data_modules_share_the_file_whatever_their_splits(root, tmp_path, decoded):
    one, other = module(root, "disk"), module(f"{root}/", "disk", val_share=0.25, test_share=0.25)
    one.dataset("train").__getitems__(list(range(6)))
    found = torch.cat([other.dataset(s).__getitems__(list(range(len(other.dataset(s)))))[0] for s in SPLITS])
    assert len(found) == len(decoded) == 12
    one.dataset("train").__getitems__(list(range(12)))
    module(root, "disk").dataset("train").__getitems__(list(range(12)))
    assert len(decoded) == 12
    assert [file.stat().st_size for file in files(tmp_path)] == [needed_bytes(12, SHAPE)]


def test_changed_added_and_removed_files_make_it_anew(root, tmp_path, decoded):
    def read():
        decoded.clear()
        data = module(root, "disk").dataset("train")
        images, _ = data.__getitems__(list(range(len(data))))
        plain = module(root).dataset("train").__getitems__(list(range(len(data))))[0]
        assert torch.equal(images, plain)
        assert len(files(tmp_path)) == 1
        return len(decoded)

    assert (read(), read()) == (12, 0)
    Image.fromarray(rng.integers(256, size=(9, 7, 3), dtype=np.uint8)).save(root / "03.png")
    assert (read(), read()) == (12, 0)
    status = (root / "04.png").stat()
    os.utime(root / "04.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert (read(), read()) == (12, 0)
    (root / "05.png").unlink()
    assert (read(), read()) == (11, 0)
    (root / "04.png").rename(root / "zz.png")
    assert (read(), read()) == (11, 0)


def test_other_pixels_have_another_file(root, tmp_path):
    for options in ({"channels": 1}, {"channels": 3}):
        data = module(root, "disk", **options).dataset("train")
        assert data.__getitems__([0])[0].shape[1] == options["channels"]
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "overwritten", "swapped"])
def test_of_a_damaged_file_only_whole_images_are_taken(root, tmp_path, decoded, damage):
    expected, _ = module(root, "disk").dataset("train").__getitems__(list(range(12)))
    decoded.clear()
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    image, start = 48, 12 * 4
    if damage == "cut":
        content, lost = content[: start + 7 * image + 5], 5
    elif damage == "empty":
        content, lost = bytearray(), 12
    elif damage == "overwritten":
        content[start + 3 * image] ^= 1
        lost = 1
    else:
        first, second = (slice(start + i * image, start + (i + 1) * image) for i in (0, 1))
        content[first], content[second] = content[second], content[first]
        lost = 2
    path.write_bytes(content)
    found, _ = module(root, "disk").dataset("train").__getitems__(list(range(12)))
    assert torch.equal(found, expected)
    assert len(decoded) == lost
    module(root, "disk").dataset("train").__getitems__(list(range(12)))
    assert len(decoded) == lost  # and it is whole again


def test_an_unreadable_file_is_named_every_time(root):
    (root / "02.png").write_bytes(b"not an image")
    dataset = module(root, "ram").dataset("train")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"02\.png: not a readable image"):
            dataset.__getitems__([1, 2])


def test_memory_that_is_too_small_is_refused_with_both_figures(root, monkeypatch):
    monkeypatch.setattr(image_cache, "available_memory", lambda: 623)
    message = r"cache='ram': 12 images of 3 x 4 x 4 need 624 bytes of shared memory, 623 are available"
    with pytest.raises(ValueError, match=message):
        module(root, "ram").dataset("train")
    monkeypatch.setattr(image_cache, "available_memory", lambda: 624)
    module(root, "ram").dataset("train")
    monkeypatch.setattr(image_cache, "available_memory", lambda: None)
    with pytest.raises(ValueError, match="need 50,331,652,194,304 bytes of shared memory"):
        in_memory(2**20, (3, 4000, 4000))
    monkeypatch.undo()
    assert available_memory() is None or available_memory() > 2**20


def test_a_disk_that_is_too_small_or_closed_is_named(root, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(image_cache.shutil, "disk_usage", lambda folder: namedtuple("Usage", "free")(600))
        with pytest.raises(ValueError, match=rf"need 624 bytes in {tmp_path}/small, 600 are available"):
            module(root, "disk", cache_folder=str(tmp_path / "small")).dataset("train")
        assert not list((tmp_path / "small").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=rf"cache_folder='{tmp_path}/file': can't be used"):
        module(root, "disk", cache_folder=str(tmp_path / "file")).dataset("train")


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="cache='gpu'"):
        ImageFolderDataModule("x", cache="gpu")
    with pytest.raises(ValueError, match="cache_folder='y'"):
        ImageFolderDataModule("x", cache_folder="y")


def test_workers_that_inherit_nothing_get_the_same_memory(tmp_path):
    for cache in (in_memory(3, SHAPE), map_file(str(tmp_path / "x"), 3, SHAPE)):
        sent = bytes(ForkingPickler.dumps(cache))
        assert len(sent) < 2000
        other = pickle.loads(sent)
        image = rng.integers(256, size=SHAPE, dtype=np.uint8)
        other.take(np.array([1]), lambda position, image=image: image)
        assert np.array_equal(cache.pixels[1], image)
        assert np.array_equal(cache.take(np.array([1]), lambda position: 1 / 0), image[None])
