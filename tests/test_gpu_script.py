"""`scripts/gpu.sh` records what fails and what is left out, and its table is made of its JSON."""

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts" / "gpu"))
sys.path.append(str(Path(__file__).parents[1] / "scripts" / "benchmark"))
import packages
import pieces
import runner
import stages
import training
from report import report

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib")
SETTINGS = pieces.Settings(device="cpu", small=True, images=100, until=0)


class Stub:
    """In place of the processes: each stage takes no time, and ends as it is told to."""

    def __init__(self, **stages):
        self.stages, self.limits = stages, {}

    def run(self, name, limit):
        self.limits[name] = limit
        rows = [{"step": "a", "ms": 2.0, "status": "done"}]
        return {"status": "done", "why": None, "took_s": 1.0, "rows": rows} | self.stages.get(name, {})


def empty(budget=540):
    machine = {"name": "A GPU", "versions": {"torch": "2.11.0"}}
    about = {"date": "today", "commit": None, "device": "cuda", "small": False, "images": 100}
    return about | {"machine": machine, "budget_s": budget, "prepared_s": 0.0, "took_s": 0.0, "stages": {}}


def run(tmp_path, seconds=540.0, names=None, **stages):
    stub, result = Stub(**stages), empty()
    runner.run_stages(stub, names or list(runner.STAGES), time.monotonic() + seconds, result, tmp_path)
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert stored == result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json", "gpu.md"]
    return stub, stored["stages"], (tmp_path / "gpu.md").read_text()


def test_every_stage_is_in_the_result_and_the_limits_fit_into_nine_minutes(tmp_path):
    stub, found, page = run(tmp_path)
    assert list(found) == ["tests", "steps", "sampling", "scores", "profile"]
    assert all({"status", "why", "took_s", "rows"} <= stage.keys() for stage in found.values())
    assert sum(stub.limits.values()) < runner.MOST == 9 * 60
    assert page.count("| done |") == 2 * len(found)


def test_a_failing_stage_is_recorded_and_the_next_begins(tmp_path):
    _, found, page = run(tmp_path, tests={"status": "failed", "why": "1 of 3", "rows": []})
    assert [stage["status"] for stage in found.values()] == ["failed", *["done"] * 4]
    assert "failed: 1 of 3" in page


def test_stages_without_time_or_not_asked_for_are_named(tmp_path):
    stub, found, page = run(tmp_path, seconds=24.5)
    assert list(stub.limits) == ["sampling", "profile"]
    assert found["steps"]["status"] == "skipped"
    assert found["steps"]["why"] == "19 s are left of 540, it needs 30"
    assert "skipped: 19 s are left of 540, it needs 30" in page
    _, found, _ = run(tmp_path, names=["steps"])
    assert found["tests"] == {"status": "skipped", "why": "not asked for", "took_s": 0.0, "rows": []}


@pytest.mark.parametrize(
    ("stage", "limit", "status", "why"),
    [
        ("print('no such thing'); raise SystemExit(3)", 20, "failed", "no such thing"),
        ("write([{'step': 'a', 'status': 'failed', 'why': 'ValueError: b'}])", 20, "failed", "1 of 1 rows; first: Val"),
        ("write([{'step': 'a', 'status': 'running'}]); time.sleep(60)", 3, "timed out", "stopped after 3 s"),
        ("write([{'step': 'a', 'status': 'running'}]); os.abort()", 20, "failed", "1 of 1 rows; first: its process"),
    ],
)
def test_whatever_ends_a_stages_process_is_told(tmp_path, monkeypatch, stage, limit, status, why):
    head = "import json, os, sys, time\ndef write(rows): open(sys.argv[2], 'w').write(json.dumps(rows))\n"
    (tmp_path / "stages.py").write_text(head + stage)
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "runner.py"))
    done = runner.Runner(sys.executable, {}).run("steps", limit)
    assert done["status"] == status
    assert done["why"].startswith(why)
    assert [row["status"] for row in done["rows"]] in ([], [status])


def test_rows_hold_what_was_done_failed_unsupported_or_not_reached(tmp_path):
    def fail():
        raise ValueError("two\nlines")

    def refuse():
        raise pieces.Unsupported("not here")

    def look():
        seen.append(json.loads(file.read_text()))
        return {"ms": 1.0}

    seen, file = [], tmp_path / "rows.json"
    given = [pieces.Piece({"n": 0}, fail), pieces.Piece({"n": 1}, refuse), pieces.Piece({"n": 2}, look)]
    given.append(pieces.Piece({"n": 3}, look, needs=1000))
    assert not pieces.Pieces(given, file).run(time.time() + 60)
    failed, unsupported, done, skipped = json.loads(file.read_text())
    assert failed == {"n": 0, "status": "failed", "why": "ValueError: two"}
    assert unsupported == {"n": 1, "status": "unsupported", "why": "not here"}
    assert done == {"n": 2, "ms": 1.0, "status": "done"}
    assert skipped["why"].endswith("s left, 1000 needed")
    assert [row["status"] for row in seen[0]] == ["failed", "unsupported", "running", "skipped"]
    assert seen[0][3]["why"] == "not reached"
    assert pieces.Pieces(given[1:], file).run(time.time() + 60)


def test_the_page_is_made_of_the_json():
    rows = [
        {"step": "dcgan", "mode": "plain loop, float32", "ms": 30.0, "mib": 2048.5, "status": "done"},
        {"step": "dcgan", "mode": "bfloat16", "ms": 10.0, "mib": None, "status": "done"},
        {"step": "dcgan", "mode": "CUDA graphs", "status": "unsupported", "why": "no a|b"},
    ]
    operators = [{"operator": "aten::mm", "calls": 3, "ms": 1.5, "share": "50.0%"}]
    result = empty()
    result["stages"] = {
        "steps": {"status": "done", "why": None, "took_s": 12.25, "rows": rows},
        "profile": {"status": "done", "why": None, "took_s": 1.0, "rows": [{"step": "dcgan", "operators": operators}]},
    }
    page = report(result)
    assert "| step | mode | ms | MiB | times the plain loop | note |\n| --- |" in page
    assert "| dcgan | bfloat16 | 10 | – | 3 | done |" in page
    assert "| dcgan | plain loop, float32 | 30 | 2,048 | 1 | done |" in page
    assert "| dcgan | CUDA graphs | – | – | – | unsupported: no a/b |" in page
    assert "| aten::mm | 3 | 1.5 | 50.0% |" in page
    assert "# A GPU\n" in page


def test_modes_that_the_library_or_the_device_lacks_are_unsupported():
    row = training.lengthened(training.ROWS["mlp_gan_2d"], SETTINGS)
    with pytest.raises(pieces.Unsupported, match="Speed has no option whole_updates"):
        training.in_mode(row, training.Mode("whole updates", speed={"whole_updates": True}), "cpu")
    with pytest.raises(pieces.Unsupported, match="a CPU has no TF32"), pieces.tf32("cpu", True):
        raise AssertionError


@pytest.mark.parametrize("name", ["dcgan_32", "cyclegan_64", "mlp_gan_2d"])
def test_resident_batches_are_those_of_the_data(name, tmp_path):
    row = training.lengthened(training.ROWS[name], SETTINGS)
    plain, module = row.data(tmp_path).dataset("train"), training.data_of(row, "cpu")(tmp_path)
    held = module.dataset("train")
    assert len(held) >= (row.steps + row.warm_up) * row.batch
    assert len(held) % len(plain) == 0
    indices = [1, 0, len(plain) - 1]
    sides = [(plain, held)] if name != "cyclegan_64" else [(plain.a, held.a), (plain.b, held.b)]
    for of_plain, of_held in sides:
        assert (of_plain.__getitems__(indices)[0] == of_held.__getitems__(indices)[0]).all()
    assert len(next(iter(module.train_dataloader()))) == 2


def test_a_step_is_timed_and_profiled():
    row = training.lengthened(training.ROWS["mlp_gan_2d"], SETTINGS)
    values = training.timed(row, training.Mode("float32"), SETTINGS)
    assert values["images_s"] == pytest.approx(256 / values["ms"] * 1000)
    assert 0.08 < values["gflop"] < 0.11
    operators = training.profiled(row, SETTINGS)["operators"]
    assert "aten::addmm" in [operator["operator"] for operator in operators]
    assert all(operators[i]["ms"] >= operators[i + 1]["ms"] for i in range(len(operators) - 1))


def test_pytests_report_is_counted():
    text = """<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase>
        <testcase name="c"><skipped/></testcase><testcase name="d"><error/></testcase></testsuite></testsuites>"""
    counts, failures = stages.counted(ElementTree.fromstring(text))
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert failures == ["b", "d"]


def test_what_is_missing_is_found(monkeypatch):
    assert {"torch", "pytest", "jsonargparse"} <= {packages._name(line) for line in packages.requirements()}
    assert packages.missing() == []
    monkeypatch.setattr(packages, "requirements", lambda: ["torch>=99", "no_such_package[a]>=1", "pytest>=8"])
    assert packages.missing() == ["torch>=99", "no_such_package[a]>=1"]


def wheel(folder):
    """Of a package `carried` with one empty module."""
    about = {"METADATA": "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n", "RECORD": ""}
    about["WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    folder.mkdir()
    with zipfile.ZipFile(folder / "carried-1.0-py3-none-any.whl", "w") as file:
        file.writestr("carried.py", "")
        for name, text in about.items():
            file.writestr(f"carried-1.0.dist-info/{name}", text)


def test_an_environment_has_this_ones_packages_and_those_of_the_wheels(tmp_path, monkeypatch):
    wheel(tmp_path / "wheels")
    monkeypatch.setattr(packages, "requirements", lambda: ["carried>=1", "packaging"])
    python = packages.environment(tmp_path / "new", tmp_path / "wheels")
    say = "import packaging, carried; print(carried.__file__)"
    done = subprocess.run([python, "-c", say], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "new"), done.stderr
    monkeypatch.setattr(packages, "requirements", lambda: ["carried>=2"])
    with pytest.raises(ValueError, match=r"--wheels \S+wheels: .*carried>=2"):
        packages.environment(tmp_path / "other", tmp_path / "wheels")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--out: a folder for the results is needed"),
        (["--out", "{}/file"], "is a file; a folder is needed"),
        (["--out", "{}/file/below", "--device", "cpu"], "can't be made: Not a directory"),
        (["--out", "{}", "--budget", "541"], "--budget 541: 1 to 540 seconds"),
        (["--out", "{}", "--images", "7"], "--images 7: at least 100"),
        (["--out", "{}", "--wheels", "{}/none"], "there is no such folder"),
        (["--out", "{}", "--device", "tpu"], "invalid choice: 'tpu'"),
        (["wheels", "{}", "--torch", "eleven"], "--torch eleven: a version such as 2.11"),
    ],
)
def test_bad_input_gets_one_line(tmp_path, options, words):
    (tmp_path / "file").touch()
    surroundings = {**os.environ, "PYTHON": sys.executable}
    surroundings.pop("OUT", None)
    command = ["bash", str(ROOT / "scripts" / "gpu.sh"), *(option.format(tmp_path) for option in options)]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]


def test_the_shell_script_is_valid():
    assert subprocess.run(["bash", "-n", str(ROOT / "scripts" / "gpu.sh")]).returncode == 0


@pytest.mark.slow
def test_a_dry_run_does_all_stages(tmp_path):
    command = ["bash", str(ROOT / "scripts" / "gpu.sh"), "--device", "cpu", "--small", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
    assert done.returncode == 0, done.stdout
    found = json.loads((tmp_path / "gpu.json").read_text())["stages"]
    assert {name: stage["status"] for name, stage in found.items()} == dict.fromkeys(found, "done")
    assert len(found) == 5
