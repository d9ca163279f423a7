"""Shards at a URL: copied when they are needed, whole, and by one process each."""

import functools
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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


class Served(NamedTuple):
    """A folder with the shards, its URL, what has been asked for, and what is answered by 503 next."""

    folder: Path
    url: str
    asked: list[str]
    busy: list[str]
    stop: Callable[[], None]

    def __iter__(self):
        return iter((self.folder, self.url, self.asked))


@pytest.fixture
def served(shards, tmp_path):
    folder, asked, busy = tmp_path / "served", [], []
    folder.mkdir()
    for path in shards.iterdir():
        os.link(path, folder / path.name)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_head(self):
            if (name := self.path.strip("/")) in busy:
                busy.remove(name)
                self.send_error(503)
                return None
            return super().send_head()

        def log_message(self, *_):
            if self.command == "GET":
                asked.append(self.path.strip("/"))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop():
        server.shutdown()
        server.server_close()

    yield Served(folder, f"http://127.0.0.1:{server.server_port}/", asked, busy, stop)
    stop()


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
    content = bytearray((folder / "train-000000.tar").read_bytes())
    content[600] ^= 1  # of the first picture
    for other in (content, content + bytes(10_240)):
        (folder / "train-000000.tar").unlink()
        (folder / "train-000000.tar").write_bytes(other)
        with pytest.raises(ValueError, match=r"train-000000.tar: another file than its index says"):
            module(url, tmp_path).image_shape  # noqa: B018
    (folder / "train-000000.tar").write_bytes(b"x" * 100)
    monkeypatch.setattr(remote, "PAUSE", 0)
    with pytest.raises(ValueError, match=r"100 bytes, and its index says"):
        module(url, tmp_path).image_shape  # noqa: B018


def test_other_shards_of_the_same_names_and_sizes_are_copied_anew(served, tmp_path):
    folder, url, _ = served
    before = epoch(module(url, tmp_path))
    arrays = {"x_train": np.zeros((100, 4, 4, 3), np.uint8), "y_train": np.arange(100) % 5}
    np.savez(tmp_path / "others.npz", **arrays)
    write_shards(
        ArrayDataModule(str(tmp_path / "others.npz"), layout="NHWC", val_share=0, test_share=0.1),
        tmp_path / "others",
        images_per_shard=10,
    )
    sizes = {path.name: path.stat().st_size for path in folder.glob("train*")}
    for path in folder.iterdir():
        path.unlink()
    for path in (tmp_path / "others").iterdir():
        os.link(path, folder / path.name)
    assert sizes == {path.name: path.stat().st_size for path in folder.glob("train*")}  # tar rounds them up
    images = torch.cat([images for images, _ in epoch(module(url, tmp_path))])
    assert before[0][0].max() > 0
    assert not images.any()


def test_an_index_that_does_not_fit_the_shards_of_a_folder_is_found(shards, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in shards.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    first, second = (folder / f"train-00000{i}.tar" for i in (0, 1))
    assert first.stat().st_size == second.stat().st_size
    with tarfile.open(first) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(first, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in members:
            content += b" " if member.name.endswith("png") else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert first.stat().st_size == second.stat().st_size
    with pytest.raises(ValueError, match=r"train-000000.tar: another shard than index.npz was made for"):
        epoch(StreamingDataModule(str(folder), seed=0, batch_size=10))


def test_an_index_can_not_name_files_outside_of_its_folder(served, tmp_path):
    folder, url, _ = served
    with np.load(folder / INDEX) as stored:
        arrays = dict(stored)
    arrays["shards"] = np.array(["../../secret.tar", *arrays["shards"][1:]])
    (folder / INDEX).unlink()
    np.savez(folder / INDEX, **arrays)
    with pytest.raises(ValueError, match=r"index.npz names '../../secret.tar', which is no shard of the folder"):
        module(url, tmp_path).image_shape  # noqa: B018


@pytest.mark.parametrize("indexed", [True, False])
def test_a_run_goes_on_from_its_copies_while_the_server_is_away(served, tmp_path, monkeypatch, indexed):
    folder, url, _ = served
    if not indexed:
        (folder / INDEX).unlink()
    expected = epoch(module(url, tmp_path))
    monkeypatch.setattr(remote, "PAUSE", 0)
    served.stop()
    for _ in range(2):
        with pytest.warns(UserWarning, match="of an earlier run is taken"):
            assert same(epoch(module(url, tmp_path)), expected)
    with pytest.raises(ValueError, match=r"Cannot connect to host|can't be listed|can't be copied"):
        StreamingDataModule(url, cache_folder=str(tmp_path / "others")).image_shape  # noqa: B018


def test_a_server_that_is_busy_is_asked_again(served, tmp_path, monkeypatch):
    url, pauses = served.url, []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    served.busy.extend(["train-000000.tar"] * 4)  # HEAD and GET, twice
    assert module(url, tmp_path).image_shape == (3, 4, 4)
    assert pauses == [1.0, 2.0][: len(pauses)]
    assert pauses


def test_a_cache_that_can_not_be_made_is_refused(served, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cache_folder='.*file': can't be used: .*Not a directory"):
        StreamingDataModule(served[1], cache_folder=str(tmp_path / "file"))


def test_a_password_is_not_told(tmp_path):
    folder = remote.RemoteFolder("http://user:word@127.0.0.1/shards/", cache=tmp_path)
    assert folder.told == "http://127.0.0.1/shards"
    assert remote.is_remote("hf://datasets/a/b")
    assert not remote.is_remote("C:/photos")
    assert not remote.is_remote("photos/a")
