"""The files that a hosting service, a package index and those who cite read: whole, and in line with the project."""

import re
from pathlib import Path

import pytest
import yaml

import lit_gen

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
HOSTING = ROOT / ".github"
hosted = pytest.mark.skipif(not HOSTING.is_dir(), reason="a source distribution has no .github")


def read(path: str) -> dict:
    found = yaml.safe_load((ROOT / path).read_text())
    assert isinstance(found, dict), path
    return found


def steps(job: dict) -> str:
    return "\n".join(step.get("run", step.get("uses", "")) for step in job["steps"])


def test_the_citation_has_what_its_schema_asks_for():
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license"} <= citation.keys()
    assert all("name" in author or "family-names" in author for author in citation["authors"])
    assert citation["license"] == PROJECT["license"]


def test_there_is_one_version():
    assert read("CITATION.cff")["version"] == PROJECT["version"] == lit_gen.__version__


def test_the_lowest_python_is_the_first_named():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert [f"3.{10 + i}" for i in range(len(PYTHONS))] == PYTHONS


def test_the_promises_on_files_lead_to_their_proofs():
    text = (ROOT / "SECURITY.md").read_text()
    page, heading = re.search(r"\]\((docs/robustness\.md)#([\w-]+)\)", text).groups()
    headings = re.findall(r"^## (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert heading in [title.lower().replace(" ", "-") for title in headings]


@hosted
def test_every_python_and_the_lowest_versions_are_tested():
    matrix = read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    assert PYTHONS[0] in [entry["python"] for entry in matrix["include"] if entry["versions"] == "lowest"]


@hosted
def test_a_release_is_checked_before_it_is_published_without_a_token():
    release = read(".github/workflows/release.yml")
    build, publish = release["jobs"]["build"], release["jobs"]["publish"]
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    assert "twine check --strict" in steps(build)
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert "permissions" not in build
    assert "secrets." not in (HOSTING / "workflows" / "release.yml").read_text()


@hosted
@pytest.mark.parametrize("name", ["ci", "release"])
def test_actions_are_pinned_and_read_alone(name):
    workflow = read(f".github/workflows/{name}.yml")
    assert workflow["permissions"] == {"contents": "read"}
    uses = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert uses
    assert all(re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", action) for action in uses)
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


@hosted
@pytest.mark.parametrize("name", ["bug", "question"])
def test_forms_ask_for_something(name):
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    identities = [field["id"] for field in form["body"]]
    assert len(set(identities)) == len(identities)
    assert any(field.get("validations", {}).get("required") for field in form["body"])
