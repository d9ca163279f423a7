"""docs/results.md is made from docs/results/*.yaml, and every row of it can be run again."""

import argparse
import contextlib
import io
import json
import math
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import jsonargparse
import numpy as np
import pytest
import yaml

from lit_gen.cli.app import main as lit_gen
from lit_gen.pretrained.shipped import configs_folder

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("scripts", "scripts/benchmark"))
import reproduce
import results

ROWS = {name: row for section in results.load()[1].values() for name, row in section["rows"].items()}
CALLS = sorted({(row["commands"][0], command) for row in ROWS.values() for command in row["commands"]})


# The page


def test_the_page_and_the_data_files_are_what_the_script_makes():
    stale = [path.name for path, text in results.wanted().items() if path.read_text() != text]
    assert not stale, f"python scripts/results.py makes them anew: {stale}"


@pytest.mark.parametrize(("path", "text"), results.quotes(), ids=lambda given: str(given)[-40:])
def test_other_files_say_the_same(path, text):
    assert text in path.read_text()


def test_values_are_shown_as_mean_and_deviation_over_seeds():
    show = results.value
    assert f"{show([1.0, 2.0, 6.0]):.2f}" == "3.00 ± 2.65"  # the sample's, n − 1
    assert f"{show([1.5]):.2f}" == "1.50"
    assert f"{show([1.0, None, 3.0]):.1f}" == "2.0 ± 1.4 (2 of 3 seeds)"
    assert f"{show([None, None]):.1f}" == ""
    assert f"{show([[1.0, 20.0], [3.0, 20.0]]):.0f}" == "2 ± 1, 20 ± 0"
    assert f"{100 * show([0.25]):.0f}" == "25"
    assert f"{show({'mean': 2.0, 'std': 0.5}):.1f}" == "2.0 ± 0.5"
    assert results.percent(show({"mean": 0.5, "std": 0.01}), ".1f") == "50.0 ± 1.0"
    assert show("none") == "none"
    assert (results.mean(show([1.0, 3.0])), results.std(show([1.0, 3.0]))) == (2.0, pytest.approx(math.sqrt(2)))
    assert results.each(show([1.0, 2.5]), ".1f", "/") == "1.0/2.5"
    assert results.span(show([3.0, None, 1.0]), ".0f") == "1–3"


def test_scores_of_shipped_weights_are_those_of_their_cards():
    for name in ("gan_digits", "fsq_cifar10"):
        card = (results.WEIGHTS / name / "README.md").read_text()
        for score, told in re.findall(r"val/(\w+): ([\d.]+)", card):
            assert results.shipped(name, score) == float(told)
    assert "val/fd_digits_1000: 13.91" in (results.WEIGHTS / "gan_digits" / "README.md").read_text()
    assert f"{results.shipped('gan_digits', 'fd_digits_1000'):.1f}" == "13.9"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A page of one section whose row has run with two seeds."""
    row = {
        "commands": ["lit-gen fit --config gan_digits", "lit-gen test --evaluate.num_samples 500"],
        "seeds": [4, 7],
        "commit": "abc",
        "hardware": "a machine",
        "values": {"fd": [1.0, 3.0], "cpu_s": [10.0, 20.0]},
        "observed": {"seen": 5},
        "measure": {
            "fd": ["fit", "val/fd", "last"],
            "curve": ["fit", "val/fd", "all"],
            "n": ["test", "test/n", "first"],
        },
        "shows": {"fd": ".1f"},
        "published": {"source": "a paper", "fd": 1.5},
    }
    section = {
        "title": "One",
        "text": "Text of {{braces}}: {gan.fd:.1f}, published {gan.published.fd}.\n\n{table.seeds}\n",
        "tables": {"seeds": {"each": "seed", "columns": {"config": "{name}", "seed": "{seed}", "fd": "{fd:.0f}"}}},
        "rows": {"gan": row},
    }
    place = tmp_path / "results"
    place.mkdir()
    page = {"title": "Results", "text": "Start.", "rows_text": "All.", "sections": ["one"]}
    for name, content in {"page": page, "one": section, "quotes": {}}.items():
        (place / f"{name}.yaml").write_text(results.dumped(content))
    monkeypatch.setattr(results, "FOLDER", place)
    monkeypatch.setattr(results, "PAGE", tmp_path / "results.md")
    return place


def change(folder, **changes):
    content = yaml.safe_load((folder / "one.yaml").read_text())
    content["rows"]["gan"] |= changes
    (folder / "one.yaml").write_text(results.dumped(content))


def test_a_page_has_its_texts_tables_and_every_row(folder):
    page = results.made()
    assert "Text of {braces}: 2.0 ± 1.4, published 1.5." in page
    assert "| config | seed | fd |\n|---|---|---|\n| gan | 4 | 1 |\n| gan | 7 | 3 |\n" in page
    assert "| `gan` | 4, 7 | fd 2.0 ± 1.4 | 15 s CPU | abc | A | fd 1.5 | a paper |" in page
    assert page.endswith("A: a machine.\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": {"fd": [1.0]}}, "row gan: fd has 1 values, expected one for each of 2 seeds"),
        ({"values": {}}, "row gan: shows fd, of which it has no value"),
        ({"published": {"fd": 1.5}}, "row gan: published lacks its source"),
        ({"seeds": [4, 7], "values": {"fd": [1, 2]}, "published": {"source": ""}}, "no attribute 'fd'"),
    ],
)
def test_what_a_row_lacks_is_told(folder, changes, message):
    change(folder, **changes)
    with pytest.raises(ValueError, match=message):
        results.made()


def test_a_section_that_the_order_lacks_is_told(folder):
    (folder / "two.yaml").write_text("title: Two\n")
    with pytest.raises(ValueError, match=r"expected each of \['one', 'two'\] once"):
        results.load()


def test_a_row_that_has_not_run_is_listed(folder):
    content = yaml.safe_load((folder / "one.yaml").read_text())
    content["rows"]["new"] = {**content["rows"]["gan"], "commit": None, "hardware": None, "values": {}}
    content["tables"]["seeds"]["of"] = ["gan"]
    (folder / "one.yaml").write_text(results.dumped(content))
    assert "| `new` | 4, 7 | | not kept | not run yet | | fd 1.5 | a paper |" in results.made()


# Running rows again


class Parsed(Exception):
    """The options have been read, and nothing was done."""


@pytest.fixture
def stop_when_parsed(monkeypatch):
    parsers = [(argparse.ArgumentParser, "parse_args"), (argparse.ArgumentParser, "parse_known_args")]
    for kind, name in [*parsers, (jsonargparse.ArgumentParser, "parse_args")]:
        read = getattr(kind, name)

        def parsed(self, *arguments, read=read, name=name, **options):
            found = read(self, *arguments, **options)
            if name == "parse_known_args" and sys._getframe(1).f_code.co_name == "parse_args":
                return found
            raise Parsed

        monkeypatch.setattr(kind, name, parsed)


FITS = sorted({command for _, command in CALLS if command.startswith("lit-gen fit")})


def test_every_config_is_shipped():
    """Which is enough where it is trained as it is: test_configs.py does."""
    for command in FITS:
        program, verb, option, config, *_ = shlex.split(command)
        assert (program, verb) == ("lit-gen", "fit")
        assert option == "--model" or (configs_folder() / f"{config}.yaml").is_file()


@pytest.mark.parametrize("command", [command for command in FITS if len(shlex.split(command)) > 4])
def test_options_of_a_training_are_accepted(command):
    accepted(shlex.split(command)[1:])


@pytest.mark.parametrize(
    ("first", "command"), [(first, command) for first, command in CALLS if command.startswith("lit-gen test")]
)
def test_options_of_a_test_are_accepted(first, command):
    """With the config of the checkpoint that it would have."""
    accepted(["test", "--config", shlex.split(first)[3], *shlex.split(command)[2:]])


def accepted(words):
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as stopped:
        lit_gen([*words, "--print_config"])
    assert not stopped.value.code
    assert yaml.safe_load(printed.getvalue())["model"]


def call(command, load_script):
    """Run a command of a row that is no `lit-gen fit` or `test`, in this process."""
    program, what, *words = shlex.split(command)
    if program == "lit-gen":
        import_module(f"lit_gen.cli.commands.{what}").parser().parse_args(words)
    else:
        assert program == "python"
        path = what.removeprefix("scripts/")
        load_script(path if path.endswith(".py") else f"{path}/__main__.py").main()  # the latter runs as it is loaded


@pytest.mark.parametrize(
    "command", sorted({command for _, command in CALLS if not command.startswith(("lit-gen fit", "lit-gen test"))})
)
def test_options_of_other_commands_are_accepted(command, stop_when_parsed, load_script, monkeypatch):
    command = command.replace("$SEED", "0")
    monkeypatch.setattr(sys, "argv", shlex.split(command)[1:])
    with pytest.raises(Parsed):
        call(command, load_script)


@pytest.fixture
def runs(monkeypatch):
    """In place of processes: a run's folder with metrics of the seed, for each fit and test; their words."""
    called = []

    def run(words, env=None, check=True, **options):
        if words[0] == "git":
            return SimpleNamespace(stdout="" if "status" in words else "1234567\n")
        called.append(words)
        options = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        run = Path(options["--trainer.default_root_dir"], options["--experiment"], "now")
        (run / "checkpoints").mkdir(parents=True)
        seed = float(options.get("--seed_everything", 0))
        (run / "metrics.csv").write_text(f"step,val/fd,test/n\n0,{9 + seed},\n1,,\n2,{seed},10\n")

    monkeypatch.setattr(reproduce.subprocess, "run", run)
    return called


def test_each_seed_trains_and_is_tested_in_its_folder(folder, runs, tmp_path):
    row = results.load()[1]["one"]["rows"]["gan"]
    again = reproduce.reproduce("gan", row, [4, 7], tmp_path / "root", ["--data.root=x"])
    assert len(runs) == 4
    here = tmp_path / "root" / "gan" / "7"
    assert {"fit", "--seed_everything=7", f"--trainer.default_root_dir={here}", "--data.root=x"} <= set(runs[2])
    assert f"--ckpt_path={here}/fit/now/checkpoints/last.ckpt" in runs[3]
    assert {"test", "--experiment=test", "--evaluate.num_samples", "500", "--data.root=x"} <= set(runs[3])
    assert (again["seeds"], again["commit"], again["values"]["fd"]) == ([4, 7], "1234567", [4.0, 7.0])
    assert again["values"]["curve"] == [[13.0, 4.0], [16.0, 7.0]]
    assert again["values"]["n"] == [10.0, 10.0]
    assert len(again["values"]["cpu_s"]) == len(again["values"]["wall_s"]) == 2
    assert reproduce.reproduce("gan", row, [4, 7], tmp_path / "root", ["--data.root=x"]) == again
    assert len(runs) == 4  # what has run isn't repeated
    with pytest.raises(SystemExit, match=r"was run with options \['--data.root=x'\], not with \[\]"):
        reproduce.reproduce("gan", row, [4, 7], tmp_path / "root", [])
    (here / "done.json").unlink()
    with pytest.raises(SystemExit, match="unfinished"):
        reproduce.reproduce("gan", row, [7], tmp_path / "root", [])


def test_measured_stored_and_published_stand_side_by_side(folder):
    row = results.load()[1]["one"]["rows"]["gan"]
    again = {"seeds": [0], "commit": "def", "hardware": "another", "values": {"fd": [3.0], "new": [0.5]}}
    table = reproduce.beside(row, again)
    assert "| fd | 3 | 2 ± 1.414 | 1.500 | 1.5 |" in table
    assert "| new | 0.5 | | | |" in table
    assert "measured: commit def, seeds [0], another\nstored: commit abc, seeds [4, 7], a machine" in table
    assert "| fd | 3 | 3 | 1.000 | 1.5 |" in reproduce.beside(row, {**again, "seeds": [7]})  # as that seed's


def test_recording_replaces_the_row_and_the_page(folder, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "gan", "--seeds", "1", "2", "3", "--record"])
    reproduce.main()
    row = yaml.safe_load((folder / "one.yaml").read_text())["rows"]["gan"]
    assert (row["seeds"], row["commit"], row["values"]["fd"]) == ([1, 2, 3], "1234567", [1.0, 2.0, 3.0])
    assert "torch" in row["hardware"]
    assert "Text of {braces}: 2.0 ± 1.0, published 1.5." in results.PAGE.read_text()
    said = capsys.readouterr().out
    assert "no command measures seen" in said
    assert not Path(said.splitlines()[0].removeprefix("gan: in ")).exists()


def test_a_record_that_the_page_cannot_show_changes_nothing(folder):
    before = (folder / "one.yaml").read_text()
    again = {"seeds": [0], "commit": "d", "hardware": "h", "values": {"other": [1.0]}}
    with pytest.raises(ValueError, match="shows fd"):
        reproduce.record("gan", again)
    with pytest.raises(ValueError, match="run at commit c, d with changes"):
        reproduce.record("gan", {**again, "commit": "c, d with changes", "values": {"fd": [1.0]}})
    assert (folder / "one.yaml").read_text() == before
    assert not results.PAGE.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none"], "none: no such row; --list prints them"),
        ([], "which row"),
        (["gan", "--record", "--", "--trainer.max_steps=2"], "--trainer.max_steps=2 may change what gan measures"),
    ],
)
def test_mistakes_are_told_before_work_begins(folder, runs, monkeypatch, capsys, words, message):
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *words])
    with pytest.raises(SystemExit):
        reproduce.main()
    assert message in capsys.readouterr().err
    assert not runs


def test_no_record_of_code_that_no_commit_has(folder, runs, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "git", lambda *words: " M lit_gen/x.py" if "status" in words else "1234567")
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "gan", "--record"])
    with pytest.raises(SystemExit):
        reproduce.main()
    assert "have changes that no commit has" in capsys.readouterr().err
    assert not runs


def test_rows_that_cannot_be_recorded_say_so(folder, runs, monkeypatch, capsys):
    change(folder, measure={})
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "gan", "--record"])
    with pytest.raises(SystemExit):
        reproduce.main()
    assert "the figures of gan are read by hand" in capsys.readouterr().err


def test_values_of_a_run_in_a_folder_that_names_the_seed(tmp_path):
    run = tmp_path / "gan-7" / "2026"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text("step,fd\n0,3.25\n1,2.5\n")
    row = {"measure": {"fd": ["gan-$SEED", "fd", "all"]}}
    assert reproduce.measured(row, tmp_path, 7) == {"fd": [3.25, 2.5]}
    with pytest.raises(SystemExit, match="has no column nll; it has step, fd"):
        reproduce.measured({"measure": {"nll": ["gan-$SEED", "nll", "last"]}}, tmp_path, 7)


def test_values_of_json_files(tmp_path):
    (tmp_path / "runs.jsonl").write_text('{"modes": 7}\n{"modes": 8, "curve": {"modes": [1, 8]}}\n')
    (tmp_path / "all.json").write_text(json.dumps({"row, 32-true": [{"scores": [3, 1]}, {"scores": [4, 2]}]}))
    places = {
        "modes": ["runs.jsonl", -1, "modes"],
        "curve": ["runs.jsonl", -1, "curve", "modes"],
        "end": ["all.json", "row, 32-true", "*", "scores", -1],
    }
    found = reproduce.measured({"measure": places}, tmp_path)
    assert found == {"modes": 8.0, "curve": [1.0, 8.0], "end": [1.0, 2.0]}


def test_one_command_may_run_all_seeds(folder, tmp_path, monkeypatch):
    def run(words, **options):
        if words[0] == "git":
            return SimpleNamespace(stdout="")
        assert words[1:] == [
            str(reproduce.ROOT / "scripts/experiments/joins.py"),
            "--json",
            f"{tmp_path}/r/joins/all/j.json",
        ]
        Path(words[-1]).write_text("[[1.0], [2.0]]")

    monkeypatch.setattr(reproduce.subprocess, "run", run)
    command = "python scripts/experiments/joins.py --json $FOLDER/j.json"
    row = {"commands": [command], "measure": {"fd": ["j.json", "*", 0]}, "run": "joins"}
    assert not reproduce.of_each_seed(row)
    again = reproduce.reproduce("gan", row, [0, 1], tmp_path / "r", [])
    assert again["values"] == {"fd": [1.0, 2.0]}


def test_the_list_has_every_row_with_the_time_of_all_seeds(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--list"])
    reproduce.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split() == ["gan", "30", "s", "CPU", "lit-gen", "fit", "--config", "gan_digits"]


@pytest.mark.slow
def test_a_row_runs_again(tmp_path, monkeypatch, capsys):
    options = ["--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.enable_progress_bar=false"]
    monkeypatch.setattr(
        sys, "argv", ["reproduce.py", "gan_digits", "--seeds", "0", "--root", str(tmp_path), "--", *options]
    )
    reproduce.main()
    stored = results.value(ROWS["gan_digits"]["values"]["fd_digits_1000_start"])[0]
    done = reproduce.measured(ROWS["gan_digits"], tmp_path / "gan_digits" / "0")
    assert done["fd_digits_1000_start"] == pytest.approx(stored, rel=0.05)
    assert np.isfinite(done["top_probability"])
    assert "| fd_digits_1000_start | 8" in capsys.readouterr().out
