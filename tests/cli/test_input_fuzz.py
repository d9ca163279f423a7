"""Random input of every kind: it is read or refused in one line, and every file is used or told as left out."""

import io
import json
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import random_inputs

from datamodules.checking import check
from lit_gen.cli.app import main
from lit_gen.cli.commands.check import data_at, parser

KINDS = {"folder": "x", "zip": "x.zip", "shards": "x", "arrays": "x.npz", "statistics": "x.npz"}


def written(kind, rng, path):
    return getattr(random_inputs, f"write_{kind}")(rng, path)


def command(*arguments) -> tuple[int, str, str]:
    """Exit status and output of a command; any exception but its end is a fault."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "strict", write_through=True) for _ in range(2))
    err.reconfigure(errors="backslashreplace")  # as Python's own
    status = 0
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
    return status, *(stream.buffer.getvalue().decode() for stream in (out, err))


def number_of_files(kind, found) -> int:
    """How many files there are to account for; of a hidden folder only itself, of shards no labels."""
    if kind == "shards":
        return sum(not name.endswith((".cls", ".json")) for name in found)
    files = [name for name in found if name != "dataset.json"]
    hidden = [
        next((i for i, part in enumerate(n.split("/")) if part.startswith((".", "__MACOSX"))), None) for n in files
    ]
    if kind == "zip":
        return len(files)
    return len({n if i is None else "/".join(n.split("/")[: i + 1]) for n, i in zip(files, hidden, strict=True)})


def accounted(kind, path, found) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = data_at(parser().parse_args([str(path), "--image_size", "4"]))
        told = json.loads(json.dumps(check(data).as_dict()))
        names = data.class_names
    assert len(names) == len(set(names)) == data.num_classes
    used, left_out = sum(told["images"].values()), sum(told["left_out"].values())
    assert not names or sum(told["classes"].values()) == told["images"]["train"]
    if kind == "arrays":
        assert 0 < len(found) - left_out <= 7
    else:
        assert used + left_out == number_of_files(kind, found)


def stands(seed: int, folder: Path) -> str:
    """Write the input of a seed, give it to the commands; the kind and how they ended."""
    rng = np.random.default_rng(seed)
    kind = [*KINDS][seed % len(KINDS)]
    path = folder / KINDS[kind]
    found = written(kind, rng, path)
    if kind == "statistics":
        fine = folder / "fine.npz"
        size = len(np.atleast_1d(found["mu"]))
        np.savez(fine, mu=np.zeros(size), sigma=np.eye(size))
        pair = [path, fine] if rng.random() < 0.5 else [fine, path]
        status, out, err = command("evaluate", *pair, "--scores", "fd")
        assert status or np.isfinite(float(out.splitlines()[1].split()[1]))
    else:
        status, out, err = command("check", path, "--image_size", "4")
        assert all(line.isprintable() for line in out.splitlines())
        told = sum(out.count(f"\n{kind_of_line}: ") for kind_of_line in ("undivided", "warning", "error"))
        assert status == 2 or len(out.splitlines()) == 2 + told
        if status != 2:
            accounted(kind, path, found)
    assert status in (0, 1, 2)
    assert (status == 2) == ("lit-gen: error: " in err)
    assert status != 2 or err.count("\n") == 1
    return f"{kind} {status}"


@pytest.mark.parametrize("start", range(0, 60, 15))
def test_some(start, tmp_path):
    for seed in range(start, start + 15):
        (tmp_path / str(seed)).mkdir()
        stands(seed, tmp_path / str(seed))


@pytest.mark.slow
def test_a_thousand(tmp_path):
    ends = []
    for seed in range(1000):
        (tmp_path / str(seed)).mkdir()
        ends.append(stands(seed, tmp_path / str(seed)))
    assert {end for end in ends if ends.count(end) > 20} >= {f"{kind} 0" for kind in KINDS}  # not all are refused
