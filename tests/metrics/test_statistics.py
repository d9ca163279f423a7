import os
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules import DigitsDataModule
from datamodules.datasets import InMemoryDataset
from datamodules.image_files import ImageFiles
from lit_gen.metrics import (
    FeatureBank,
    IdentityExtractor,
    Protocol,
    SmallCNN,
    frechet_distance,
    read_statistics,
    write_statistics,
)
from lit_gen.metrics.extractors import Extractor
from lit_gen.metrics.passes import real_features
from lit_gen.metrics.statistics import cache_folder, cached, fingerprint_data, fingerprint_extractor

PROTOCOL = Protocol(data="aa", split="val", count=40, extractor="bb")


def features(n: int = 40, dim: int = 5):
    bank = FeatureBank(dim, capacity=30)
    rows = torch.randn(n, dim, generator=torch.Generator().manual_seed(0))
    bank.update(rows, torch.arange(n), labels=torch.arange(n) % 3)
    return bank.compute()


@pytest.mark.parametrize(("n", "dim"), [(40, 5), (10, 12)])
def test_come_back_as_they_were(tmp_path, n, dim):
    written = features(n, dim)
    write_statistics(tmp_path / "real.npz", written, PROTOCOL)
    read = read_statistics(tmp_path / "real.npz", PROTOCOL)
    assert read.moments.count == n
    for name in ("rows", "index", "labels"):
        assert getattr(read, name).equal(getattr(written, name))
    torch.testing.assert_close(read.moments.mean, written.moments.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(read.moments.covariance, written.moments.covariance, rtol=1e-9, atol=1e-12)
    assert read.moments.factor.shape[1] == min(n, dim)
    assert os.listdir(tmp_path) == ["real.npz"]


def test_pytorch_fid_and_edm_read_it(tmp_path):
    """As their code does: ``np.load``, and the arrays ``mu`` and ``sigma``."""
    written = features()
    write_statistics(tmp_path / "real.npz", written, PROTOCOL)
    with np.load(tmp_path / "real.npz") as archive:
        mean, covariance = archive["mu"][:], archive["sigma"][:]
    np.testing.assert_array_equal(mean, written.moments.mean)
    np.testing.assert_array_equal(covariance, written.moments.covariance)
    score = pytest.importorskip("pytorch_fid.fid_score")
    theirs = score.compute_statistics_of_path(str(tmp_path / "real.npz"), None, 1, 5, "cpu")
    np.testing.assert_array_equal(theirs[1], covariance)


def test_statistics_of_another_program_are_read(tmp_path):
    mean, root = np.arange(3.0), np.random.default_rng(0).normal(size=(3, 3))
    np.savez(tmp_path / "theirs.npz", mu=mean.astype(np.float32), sigma=root @ root.T)
    read = read_statistics(tmp_path / "theirs.npz")
    assert (read.moments.count, len(read.rows), read.labelled) == (0, 0, False)
    distance = frechet_distance(read.moments.mean, read.moments.covariance, torch.zeros(3), torch.zeros(3, 3))
    assert distance.item() == pytest.approx(5 + np.trace(root @ root.T))


def test_foreign_statistics_are_not_taken_for_a_protocols(tmp_path):
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(ValueError, match=r"theirs\.npz: foreign statistics"):
        read_statistics(tmp_path / "theirs.npz", PROTOCOL)
    write_statistics(tmp_path / "unnamed.npz", features())
    with pytest.raises(ValueError, match=r"unnamed\.npz: foreign statistics"):
        read_statistics(tmp_path / "unnamed.npz", PROTOCOL)


@pytest.mark.parametrize(
    "change",
    [{"data": "cc"}, {"split": "test"}, {"count": 39}, {"extractor": "cc"}, {"resize": "64"}, {"dtype": "bfloat16"}],
)
def test_stale_statistics_are_named_with_what_differs(tmp_path, change):
    """The same name may not stand for other images, another split, count, network or precision."""
    write_statistics(tmp_path / "real.npz", features(), PROTOCOL)
    other = replace(PROTOCOL, **change)
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=rf"real\.npz: stale statistics, of {name}=.* \(needed {value!r}\)"):
        read_statistics(tmp_path / "real.npz", other)
    assert other.key != PROTOCOL.key


@pytest.mark.parametrize("kept", [0, 10, 500, 2000])
def test_truncated_files_are_named(tmp_path, kept):
    write_statistics(tmp_path / "real.npz", features(), PROTOCOL)
    content = (tmp_path / "real.npz").read_bytes()
    assert len(content) > 2000
    (tmp_path / "real.npz").write_bytes(content[:kept])
    with pytest.raises(ValueError, match=r"real\.npz: truncated or damaged"):
        read_statistics(tmp_path / "real.npz")


def test_a_flipped_byte_is_noticed(tmp_path):
    write_statistics(tmp_path / "real.npz", features(), PROTOCOL)
    content = bytearray((tmp_path / "real.npz").read_bytes())
    at = content.find(features().moments.mean.numpy().tobytes()) + 3
    content[at] ^= 0xFF
    (tmp_path / "real.npz").write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_statistics(tmp_path / "real.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 8, 8))}, "no mu and sigma; it holds images"),
        ({"mu": np.zeros(3)}, "no sigma; it holds mu"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"mu \(3,\) and sigma \(4, 4\)"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "mu float64 .* not an array of finite numbers"),
        ({"mu": np.array(["a"]), "sigma": np.eye(1)}, "mu .* not an array of finite numbers"),
    ],
)
def test_other_files_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(ValueError, match=rf"other\.npz: {message}"):
        read_statistics(tmp_path / "other.npz")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_covariance_is_refused(tmp_path, dtype):
    root = np.random.default_rng(0).normal(size=(40, 20))
    good = np.cov(root.T) if dtype == np.float64 else np.cov(root[:9].T)  # of full rank, and of fewer rows
    for sigma, message in (
        (-good, r"sigma is no covariance: its smallest eigenvalue is -[\d.]+, below 0"),
        (np.triu(good), r"sigma is not symmetric \(entries differ by up to"),
        (good - (0.01 + np.linalg.eigvalsh(good)[0]) * np.eye(20), "smallest eigenvalue is -0.01, below 0"),
    ):
        np.savez(tmp_path / "theirs.npz", mu=np.zeros(20), sigma=sigma.astype(dtype))
        with pytest.raises(ValueError, match=rf"theirs\.npz: .*{message}"):
            read_statistics(tmp_path / "theirs.npz")
    for sigma in (good, 0 * good):
        np.savez(tmp_path / "theirs.npz", mu=np.zeros(20), sigma=sigma.astype(dtype))
        read_statistics(tmp_path / "theirs.npz")


def test_no_file():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz: there is no such file"):
        read_statistics("nowhere.npz")


def test_an_interrupted_writing_leaves_the_old_file(tmp_path, monkeypatch):
    write_statistics(tmp_path / "real.npz", features(), PROTOCOL)
    before = (tmp_path / "real.npz").read_bytes()

    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_statistics(tmp_path / "real.npz", features(30), PROTOCOL)
    assert (tmp_path / "real.npz").read_bytes() == before
    assert os.listdir(tmp_path) == ["real.npz"]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("auto") == tmp_path / "lit-gen" / "statistics"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("auto").parts[-3:] == (".cache", "lit-gen", "statistics")
    assert cache_folder("here").name == "here"
    assert cache_folder(None) is None


def images(seed: int = 0, n: int = 12) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_fingerprints_of_data_see_every_pixel_and_label(tmp_path):
    base = fingerprint_data(InMemoryDataset(images()))
    assert base == fingerprint_data(InMemoryDataset(images().clone()))
    changed = images()
    changed[7, 0, 3, 3] ^= 1
    labels = torch.zeros(12, dtype=torch.int64)
    labels[3] = 1
    for other in (InMemoryDataset(changed), InMemoryDataset(images()[:11]), InMemoryDataset(images(), labels)):
        assert fingerprint_data(other) != base
    assert fingerprint_data(InMemoryDataset(images()[:0])) != base


def test_fingerprints_of_files_see_sizes_and_times(tmp_path):
    (tmp_path / "a.png").write_bytes(b"one")
    files = ImageFiles([str(tmp_path / "a.png")], torch.zeros(1, dtype=torch.int64), (1, 4, 4))
    base = fingerprint_data(files)
    assert base == fingerprint_data(files)
    time.sleep(0.01)
    (tmp_path / "a.png").write_bytes(b"two")
    assert fingerprint_data(files) != base


def test_fingerprints_of_other_data_sets_are_taken_from_their_images():
    class Other:
        def __init__(self, seed):
            self.seed = seed

        def __len__(self):
            return 2000

        def __getitems__(self, indices):
            return images(self.seed, 2000)[indices], None

    assert fingerprint_data(Other(0)) == fingerprint_data(Other(0)) != fingerprint_data(Other(1))


def test_fingerprints_of_extractors_see_every_weight():
    network = SmallCNN((1, 8, 8), 10)
    base = fingerprint_extractor(network)
    assert base == fingerprint_extractor(network)
    network.head.bias.data[3] += 1e-6
    assert fingerprint_extractor(network) != base
    assert fingerprint_extractor(IdentityExtractor((2,))) != fingerprint_extractor(IdentityExtractor((1, 1, 2)))


@pytest.fixture
def extracted(monkeypatch):
    """The sizes of all batches that an extractor sees."""
    sizes, extract = [], Extractor.extract
    monkeypatch.setattr(Extractor, "extract", lambda self, images: sizes.append(len(images)) or extract(self, images))
    return sizes


def test_a_second_run_reads_what_the_first_computed(tmp_path, extracted):
    """Real statistics are not computed again, and give the same features."""
    first = real_features(DigitsDataModule(), "val", IdentityExtractor((1, 8, 8)), cache=str(tmp_path))
    assert sum(extracted) == 300
    second = real_features(DigitsDataModule(), "val", IdentityExtractor((1, 8, 8)), cache=str(tmp_path))
    assert sum(extracted) == 300
    assert second.rows.equal(first.rows)
    torch.testing.assert_close(second.moments.covariance, first.moments.covariance, rtol=1e-12, atol=1e-15)
    real_features(DigitsDataModule(), "test", IdentityExtractor((1, 8, 8)), cache=str(tmp_path))
    real_features(DigitsDataModule(), "val", IdentityExtractor((1, 8, 8)), cache=str(tmp_path), capacity=7)
    real_features(DigitsDataModule(), "val", IdentityExtractor((1, 8, 8)), cache=str(tmp_path), limit=20)
    assert len(os.listdir(tmp_path)) == 4


def test_without_a_cache_nothing_is_written(tmp_path, monkeypatch):
    """Nor is a pass of a moment put into the user's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for cache in (None, "auto"):
        real_features(DigitsDataModule(), "val", IdentityExtractor((1, 8, 8)), cache=cache)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr("lit_gen.metrics.passes.WORTH_KEEPING", 0.0)
    real_features(DigitsDataModule(), "val", IdentityExtractor((1, 8, 8)), cache="auto")
    assert len(os.listdir(tmp_path / "lit-gen" / "statistics")) == 1


def test_an_unfit_file_in_the_cache_is_named_and_replaced(tmp_path, extracted):
    said = []
    real_features(DigitsDataModule(), "val", IdentityExtractor((1, 8, 8)), cache=str(tmp_path))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    assert cached(tmp_path, SimpleNamespace(key=file.stem), said.append) is None
    assert len(said) == 1
    assert f"{file}: truncated or damaged" in said[0]
    real_features(DigitsDataModule(), "val", IdentityExtractor((1, 8, 8)), cache=str(tmp_path))
    assert sum(extracted) == 600
    assert file.stat().st_size == len(whole)
