"""The README holds for a newcomer."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from lit_gen.cli import main
from lit_gen.shipped import configs_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if line.startswith("lit-gen ")
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_command_is_accepted(arguments, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    if any(argument.startswith(("runs/", "photos")) for argument in arguments) and "fit" not in arguments[:1]:
        # These need a run or images; tests/test_cli.py and the commands' own tests make them.
        assert arguments[0] in ("test", "predict", "sample", "encode", "evaluate", "export")
        return
    if any(argument.startswith("runs/") for argument in arguments):
        return
    if arguments[0] == "sample":
        monkeypatch.chdir(tmp_path)
        main(arguments)
        assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]
        return
    if arguments == ["list"]:
        main(arguments)
        assert "gan_digits" in capsys.readouterr().out
        return
    asks = any(argument in ("--help", "--print_config") or argument.endswith(".help") for argument in arguments)
    with pytest.raises(SystemExit) as stop:
        main(arguments if asks else [*arguments, "--print_config"])
    assert stop.value.code == 0, capsys.readouterr().err


def test_the_first_command_trains_a_shipped_config():
    install, train = BLOCKS[0][1].split("&&")
    assert install.strip() == "pip install -e ."
    assert (ROOT / shlex.split(train)[-1]).is_file()


def test_the_gate_runs_the_readmes_test_command():
    script = (ROOT / ".ci/run").read_text()
    (extract,) = (line.removeprefix("command=$(").removesuffix(")") for line in script.splitlines() if "sed -n" in line)
    command = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert command.strip() == BLOCKS[1][1].strip()
    assert "pytest" in command


def test_all_configs_are_named():
    for path in configs_folder().glob("*.yaml"):
        assert path.stem == "default" or f"`{path.stem}`" in README


def test_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_the_example_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (code,) = (block for language, block in BLOCKS if language == "python")
    names: dict = {}
    exec(code.replace("max_epochs=5", "max_steps=3, enable_progress_bar=False"), names)
    assert names["images"].shape == (64, 1, 8, 8)
