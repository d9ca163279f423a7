"""`lit-gen evaluate` by several processes: the numbers of one, and errors that no process waits for."""

import json
import os
import signal
import sys

import numpy as np
import pytest
from process_group import in_group

from lit_gen.cli import processes
from lit_gen.cli.app import main
from lit_gen.cli.processes import check_processes, process_group, start


def evaluated(*arguments: str) -> None:
    main(["evaluate", *arguments])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """1,200 digits drawn with replacement, which are three shares, and 700 others."""
    from sklearn.datasets import load_digits

    folder, digits, random = tmp_path_factory.mktemp("images"), load_digits(), np.random.default_rng(0)
    pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
    for name, count in (("real", 1200), ("others", 700)):
        drawn = random.permutation(len(pixels))[:count]
        np.savez(folder / f"{name}.npz", images=pixels[drawn], labels=digits.target[drawn])
    return folder


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("generated", ["others.npz", "cgan_digits"])
def test_a_group_gives_the_numbers_of_one_process(world_size, generated, images, tmp_path):
    """Of four processes one has no images."""
    path = str(images / generated) if generated.endswith(".npz") else generated
    drawn = ["--num_samples", "1100"] if generated == "cgan_digits" else []
    scores = ["fd", "kid", "precision_recall", "classes", "inception_score", "class_transfer"]
    command = [str(images / "real.npz"), path, *drawn, "--extractor", "digits", "--batch_size", "200", "--cache", "off"]
    command += ["--capacity", "900", "--scores", *scores, "--json"]
    evaluated(*command, str(tmp_path / "one.json"))
    in_group(world_size, evaluated, *command, str(tmp_path / "group.json"))
    one, group = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "group"))
    assert group["scores"] == pytest.approx(one["scores"], rel=1e-9, abs=1e-9)
    assert {**group, "scores": 0} == {**one, "scores": 0}


def failing_in_one() -> str:
    def work() -> int:
        if group.rank == 1:
            raise FileNotFoundError("image 7 is gone")
        return 5

    with process_group("cpu") as group:
        assert group.in_step(lambda: group.rank) == group.rank
        assert [group.agree(True), group.agree(group.rank == 0)] == [True, False]
        try:
            group.in_step(work)
        except (ValueError, FileNotFoundError) as error:
            return f"{type(error).__name__}: {error}"
    return "nothing"


def test_what_fails_in_one_process_fails_in_all():
    assert in_group(2, failing_in_one) == ["ValueError: image 7 is gone", "FileNotFoundError: image 7 is gone"]


def refused() -> int | str | None:
    try:
        main(["evaluate", "nowhere", "nowhere"])
    except SystemExit as stop:
        return stop.code
    return None


def test_an_error_ends_all_processes():
    assert in_group(2, refused) == [2, 2]


@pytest.mark.parametrize(
    ("count", "device", "message"),
    [(0, "cpu", "--processes 0: at least 1"), (2, "cuda:1", "on a GPU each"), (99, "cuda", "99 processes and")],
)
def test_numbers_of_processes_that_can_t_be(count, device, message):
    with pytest.raises(ValueError, match=message):
        check_processes(count, device)


def test_of_processes_started_the_first_that_fails_gives_the_status(monkeypatch):
    """One is killed, and the other, which would wait for it, ends with it."""
    script = (
        f"import os, time; os.kill(os.getpid(), {int(signal.SIGKILL)}) if os.environ['RANK'] == '1' else time.sleep(60)"
    )
    popen = processes.subprocess.Popen
    monkeypatch.setattr(processes, "GRACE", 0.1)
    monkeypatch.setattr(processes.subprocess, "Popen", lambda words, **o: popen([sys.executable, "-c", script], **o))
    assert start(["evaluate"], 2) == 128 + signal.SIGKILL
    monkeypatch.setattr(processes.subprocess, "Popen", lambda words, **o: popen([sys.executable, "-c", ""], **o))
    assert start(["evaluate"], 2) == 0


@pytest.mark.slow
def test_the_option_starts_them(images, tmp_path, capfd):
    command = [str(images / "real.npz"), str(images / "others.npz"), "--extractor=digits", "--scores", "fd", "--json"]
    evaluated(*command, str(tmp_path / "one.json"))
    capfd.readouterr()
    evaluated(*command, str(tmp_path / "two.json"), "--processes", "2")
    assert capfd.readouterr().out.count("fd_digits_700") == 1
    one, two = (json.loads((tmp_path / f"{name}.json").read_text())["scores"] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-9)
    with pytest.raises(SystemExit) as stop:
        evaluated("nowhere", str(images / "others.npz"), "--processes", "2")
    assert stop.value.code == 2
    assert capfd.readouterr().err.count("there is no such file") == 1
    assert "RANK" not in os.environ
