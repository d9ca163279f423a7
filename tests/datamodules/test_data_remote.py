"""Shards at a URL: copied when they are needed, whole, and by one process each."""

import functools
import http.server
import os
import threading

import numpy as np
import pytest
import torch

from datamodules import ArrayDataModule, StreamingDataModule, remote
from datamodules.shard_index import INDEX
from datamodules.shard_writer import write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """100 images (3, 4, 4), of which 10 are for the test, in shards of 10, and 20 for validation."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 100), ("val", 20)):
        arrays[f"x_{split}"] = rng.integers(256, size=(count, 4, 4, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 5
    np.savez(folder / "images.npz", **arrays)
    write_shards(ArrayDataModule(str(folder / "images.npz"), layout="NHWC"), folder / "shards", images_per_shard=10)
    return folder / "shards"


@pytest.fixture
def served(shards, tmp_path):
    """A folder with the shards, its URL, and what has been asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()
    for path in shards.iterdir():
        os.link(path, folder / path.name)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            if self.command == "GET":
                asked.append(self.path.strip("/"))

    handler = functools.partial(Handler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()


def module(url, tmp_path, **kwargs):
    return StreamingDataModule(url, cache_folder=str(tmp_path / "copies"), seed=0, batch_size=10, **kwargs)


def epoch(data, number=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def same(left, right):
    pairs = [(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)]
    return len(pairs) > 0 and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_is_that_of_a_folder_and_each_shard_is_copied_once(served, shards, tmp_path, workers):
    _, url, asked = served
    data = module(url, tmp_path, num_workers=workers)
    expected = epoch(StreamingDataModule(str(shards), seed=0, batch_size=10))
    assert data.image_shape == (3, 4, 4)
    assert set(asked) == {INDEX, "train-000000.tar"}  # the first picture says the shape
    assert same(epoch(data), expected)
    assert same(epoch(data), expected)
    shards_asked = [name for name in asked if name.endswith(".tar")]
    assert sorted(shards_asked) == sorted(path.name for path in shards.glob("train*"))
    assert data.class_names == ("0", "1", "2", "3", "4")


def test_without_an_index_the_headers_are_read_once(served, shards, tmp_path):
    folder, url, asked = served
    (folder / INDEX).unlink()
    expected = epoch(StreamingDataModule(str(shards), seed=0, batch_size=10))
    assert same(epoch(module(url, tmp_path)), expected)
    count = len(asked)
    assert same(epoch(module(url, tmp_path)), expected)
    assert not [name for name in asked[count:] if name.endswith(".tar")]


def test_no_more_copies_are_kept_than_asked_for(served, shards, tmp_path):
    _, url, asked = served
    size = max(path.stat().st_size for path in shards.glob("train*"))
    data = module(url, tmp_path, window=10, cache_gib=3 * size / 2**30)
    assert same(epoch(data), epoch(StreamingDataModule(str(shards), seed=0, batch_size=10, window=10)))
    assert 1 <= len(list((tmp_path / "copies").glob("*/*.tar"))) <= 4  # the newest isn't counted
    assert len(asked) < 16  # the index, and hardly a shard twice
    with pytest.raises(ValueError, match=r"cache_gib=.*: a window of 100 images reads from shards of .* GiB"):
        module(url, tmp_path, window=100, cache_gib=3 * size / 2**30).read()


def test_an_interrupted_copy_is_made_again(served, tmp_path, monkeypatch):
    _, url, _ = served
    pauses, real, failing = [], remote.RemoteFolder._system, [True, True]

    class Cut:
        """A file that ends too early, as of a connection that broke."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *args):
            return self.file.__exit__(*args)

        def read(self, count):
            return self.file.read(10) if failing.pop() and not self.file.tell() else b""

    def system(self):
        opened, path = real(self)
        whole = opened.open

        def cut(name, *args, **kwargs):
            file = whole(name, *args, **kwargs)
            return Cut(file) if failing and name.endswith("train-000000.tar") else file

        opened.open = cut
        return opened, path

    monkeypatch.setattr(remote.RemoteFolder, "_system", system)
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    assert module(url, tmp_path).image_shape == (3, 4, 4)
    assert pauses == [1.0]
    assert not list((tmp_path / "copies").glob("*/.*"))


def test_what_is_not_there_is_said_in_one_line(served, tmp_path, monkeypatch):
    folder, url, _ = served
    monkeypatch.setattr(remote, "PAUSE", 0)
    (folder / "train-000003.tar").unlink()
    with pytest.raises(ValueError, match=r"train-000003.tar: not there"):
        epoch(module(url, tmp_path))
    with pytest.raises(ValueError, match=r"root='http://127.0.0.1:\d+/nothing': can't be listed"):
        module(f"{url}nothing", tmp_path).image_shape  # noqa: B018
    with pytest.raises(ValueError, match=r"root='strange://x'"):
        module("strange://x", tmp_path)
    with pytest.raises(ValueError, match=r"cache_gib=0: must be above 0"):
        module(url, tmp_path, cache_gib=0)
    with pytest.raises(ValueError, match=r"cache_gib=1: copies are only kept of shards at a URL"):
        StreamingDataModule(str(folder), cache_gib=1)


def test_a_shard_that_is_not_that_of_the_index_is_refused(served, tmp_path, monkeypatch):
    folder, url, _ = served
    monkeypatch.setattr(remote, "PAUSE", 0)
    (folder / "train-000000.tar").unlink()
    (folder / "train-000000.tar").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"in 4 attempts: ValueError 100 bytes, and its index says"):
        module(url, tmp_path).image_shape  # noqa: B018


def test_an_index_can_not_name_files_outside_of_its_folder(served, tmp_path):
    folder, url, _ = served
    with np.load(folder / INDEX) as stored:
        arrays = dict(stored)
    arrays["shards"] = np.array(["../../secret.tar", *arrays["shards"][1:]])
    (folder / INDEX).unlink()
    np.savez(folder / INDEX, **arrays)
    with pytest.raises(ValueError, match=r"index.npz names '../../secret.tar', which is no shard of the folder"):
        module(url, tmp_path).image_shape  # noqa: B018


def test_a_run_goes_on_from_its_copies_while_the_server_is_away(served, tmp_path, monkeypatch):
    _, url, _ = served
    expected = epoch(module(url, tmp_path))
    monkeypatch.setattr(remote, "PAUSE", 0)

    def away(self):
        raise OSError("no route to host")

    monkeypatch.setattr(remote.RemoteFolder, "_system", lambda self: None)
    data = module(url, tmp_path)
    monkeypatch.setattr(remote.RemoteFolder, "_system", away)
    with pytest.warns(UserWarning, match="no route to host; the copy of an earlier run is taken"):
        assert same(epoch(data), expected)
    monkeypatch.setattr(remote.RemoteFolder, "_system", lambda self: None)
    fresh = StreamingDataModule(url, cache_folder=str(tmp_path / "others"))
    monkeypatch.setattr(remote.RemoteFolder, "_system", away)
    with pytest.raises(ValueError, match="no route to host"):
        fresh.image_shape  # noqa: B018


def test_a_password_is_not_told():
    folder = remote.RemoteFolder("http://user:word@127.0.0.1/shards/", cache=remote.Path("nowhere"))
    assert folder.told == "http://127.0.0.1/shards"
    assert remote.is_remote("hf://datasets/a/b")
    assert not remote.is_remote("C:/photos")
    assert not remote.is_remote("photos/a")
