"""The README holds for a newcomer, and on the page of a package index."""

import re
import subprocess
from pathlib import Path

import pytest

from lit_gen.pretrained.shipped import configs_folder, list_pretrained

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OVERVIEW = (ROOT / "docs" / "overview.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_it_is_read_in_some_minutes():
    assert len(README.splitlines()) <= 150


def test_two_commands_lead_to_first_samples():
    install, sample = BLOCKS[0][1].splitlines()
    assert install == "pip install -e ."
    assert sample.removeprefix("lit-gen sample ") in list_pretrained()


def test_the_gate_runs_the_readmes_test_command():
    script = (ROOT / ".ci/run").read_text()
    (extract,) = (line.removeprefix("command=$(").removesuffix(")") for line in script.splitlines() if "sed -n" in line)
    command = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert command.strip() == BLOCKS[1][1].strip()
    assert "pytest" in command


def test_all_configs_are_named():
    for path in configs_folder().glob("*.yaml"):
        assert path.stem == "default" or f"`{path.stem}`" in OVERVIEW


def test_all_shipped_weights_are_named():
    assert set(re.findall(r"\*\*`(\w+)`\*\*", README)) == set(list_pretrained())


@pytest.mark.parametrize(("text", "folder"), [(README, ROOT), (OVERVIEW, ROOT / "docs")], ids=["README", "overview"])
def test_pictures_and_pages_exist(text, folder):
    pictures = [*re.findall(r"!\[.*?\]\((.*?)\)", text), *re.findall(r'<img src="(.*?)"', text)]
    assert pictures
    assert all((folder / picture).is_file() for picture in pictures)
    for target, heading in re.findall(r"(?<!!)\[[^\]]+\]\((?!https?://)([^)#]+)(?:#([^)]*))?\)", text):
        assert (folder / target).exists(), target
        assert not heading or heading in _anchors(folder / target), f"{target}#{heading}"


def test_the_first_picture_loads_in_a_moment():
    first = re.search(r"!\[.*?\]\((.*?)\)", README).group(1)
    assert (ROOT / first).stat().st_size < 300_000


def _anchors(page: Path) -> list[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_a_package_index_gets_no_relative_link_or_picture():
    hook = pytest.importorskip("hatch_fancy_pypi_readme.hooks")
    builder = pytest.importorskip("hatchling.metadata.core")
    plugins = pytest.importorskip("hatchling.plugin.manager")
    assert hook
    metadata = builder.ProjectMetadata(str(ROOT), plugins.PluginManager())
    text = metadata.core.readme
    assert "![" not in text
    assert "<img" not in text
    assert not re.findall(r"\]\((?!https?://)", text)
    assert "pip install lit-gen\n" in text
    assert "pip install -e" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):  # of as many columns in every row
        assert len({row.count("|") for row in table.splitlines()}) == 1, table
    assert "First steps tells" in text  # a link's text stays
