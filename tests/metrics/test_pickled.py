"""EDM2's pickled statistics: what numpy wrote is read, and what would run something is refused before it does."""

import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from lit_gen.cli.app import main
from lit_gen.metrics.pickled import read_pickled

MEAN, COVARIANCE = np.arange(3.0), np.diag([1.0, 2.0, 3.0])


class Runs:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4"])
def test_arrays_come_back(protocol, dtype, tmp_path):
    """In any protocol, byte order and layout, and of numpy 1 as of numpy 2."""
    fid = {"mu": MEAN.astype(dtype), "sigma": np.asfortranarray(COVARIANCE.astype(dtype))}
    content = pickle.dumps({"num_images": 50, "fid": fid, "fd_dinov2": {"mu": MEAN[:2], "sigma": np.eye(2)}}, protocol)
    old = content.replace(b"numpy._core", b"numpy.core") if protocol < 4 else content
    for name, data in {"new": content, "old": old}.items():
        (tmp_path / f"{name}.pkl").write_bytes(data)
        found = read_pickled(tmp_path / f"{name}.pkl")
        assert list(found) == ["fid", "fd_dinov2"]
        assert found["fid"].moments.mean.tolist() == MEAN.tolist()
        assert found["fid"].moments.covariance.tolist() == COVARIANCE.tolist()
        assert found["fid"].moments.count == 50


def test_numpy_1_with_short_strings(tmp_path):
    """Protocol 4 as numpy 1 wrote it: the old module's name, which is shorter."""
    content = pickle.dumps({"fid": {"mu": MEAN, "sigma": COVARIANCE}}, 4)
    content = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    content = content[:2] + b"".join([content[11:]])  # without the frame, whose length has changed
    names = [argument for opcode, argument, _ in pickletools.genops(content) if opcode.name == "SHORT_BINUNICODE"]
    assert "numpy.core.multiarray" in names
    (tmp_path / "old.pkl").write_bytes(content)
    assert read_pickled(tmp_path / "old.pkl")["fid"].moments.mean.tolist() == MEAN.tolist()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "make",
    [
        lambda mark: Runs(os.system, f"touch {mark}"),
        lambda mark: Runs(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: Runs(Path(mark).touch),
        lambda mark: Runs(np.save, str(mark), 1),
        lambda mark: Runs(getattr, np.ndarray, "tofile"),
        lambda mark: {"mu": np.array([Runs(os.system, f"touch {mark}")], dtype=object), "sigma": COVARIANCE},
    ],
)
def test_what_runs_something_is_refused_before_it_runs(make, protocol, tmp_path):
    mark = tmp_path / "ran"
    content = {"fid": {"mu": MEAN, "sigma": COVARIANCE}, "other": make(mark)}
    try:
        (tmp_path / "bad.pkl").write_bytes(pickle.dumps(content, protocol))
    except (TypeError, pickle.PicklingError):
        pytest.skip("can't be written in this protocol")
    with pytest.raises(ValueError, match=r"nothing of it was imported|is no array|of type"):
        read_pickled(tmp_path / "bad.pkl")
    assert not [path for path in tmp_path.iterdir() if path.name != "bad.pkl"]


def test_nothing_is_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bad.pkl").write_bytes(b"ctrap\nf\n.")
    with pytest.raises(ValueError, match=r"names trap\.f"):
        read_pickled(tmp_path / "bad.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fid": {"mu": MEAN}}, "no metric with 'mu' and 'sigma'"),
        ([MEAN], "no metric with 'mu' and 'sigma'"),
        ({"fid": {"mu": MEAN, "sigma": -COVARIANCE}}, "sigma is no covariance"),
        ({"fid": {"mu": MEAN, "sigma": np.eye(2)}}, r"expected \(D,\) and \(D, D\)"),
        ({"fid": {"mu": [1.0], "sigma": COVARIANCE}}, "mu is no array"),
        ({"fid": {"mu": np.array(["a"]), "sigma": COVARIANCE}}, "an array of type 'U1'"),
    ],
)
def test_other_contents(content, message, tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_pickled(tmp_path / "a.pkl")


def test_a_damaged_file_and_none(tmp_path):
    whole = pickle.dumps({"fid": {"mu": MEAN, "sigma": COVARIANCE}})
    for end in (0, 1, 30, len(whole) - 20):
        (tmp_path / "cut.pkl").write_bytes(whole[:end])
        with pytest.raises(ValueError, match="no pickle of statistics"):
            read_pickled(tmp_path / "cut.pkl")
    with pytest.raises(FileNotFoundError, match="no such file of statistics"):
        read_pickled(tmp_path / "none.pkl")


def test_the_command_writes_what_evaluate_reads(tmp_path, capsys):
    content = {
        "num_images": 7,
        "fid": {"mu": MEAN, "sigma": COVARIANCE},
        "fd_dinov2": {"mu": MEAN, "sigma": COVARIANCE},
    }
    (tmp_path / "img64.pkl").write_bytes(pickle.dumps(content))
    main(["statistics", str(tmp_path / "img64.pkl")])
    assert "3 features of 7 images" in capsys.readouterr().out
    np.savez(tmp_path / "mine.npz", mu=MEAN + 1, sigma=COVARIANCE)
    main(["evaluate", str(tmp_path / "img64.fid.npz"), str(tmp_path / "mine.npz"), "--scores", "fd"])
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["fd_statistics", "3"]
    assert (tmp_path / "img64.fd_dinov2.npz").exists()
