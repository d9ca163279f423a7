"""The README holds for a newcomer."""

import re
import shlex
import subprocess
from pathlib import Path

from lit_gen.pretrained.shipped import configs_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


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
