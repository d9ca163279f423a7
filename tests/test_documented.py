"""Every command and every line of Python of README.md and docs/ works, as documented.py runs them."""

import shutil
from pathlib import Path

import documented
import pytest

LINES = [(page, line) for page in documented.PAGES for line in documented.lines(page)]
CODE = [page for page in documented.PAGES if documented.blocks(page, "python", "py")]
RUN = [page for page in documented.PAGES if page in CODE or documented.lines(page)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with what the pages speak of."""
    folder = tmp_path_factory.mktemp("documented") / "prepared"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        documented.prepare(folder)
        yield folder


@pytest.fixture
def world(prepared, tmp_path, monkeypatch):
    """A page's own copy: what other pages made isn't there."""
    shutil.copytree(prepared, tmp_path / "page", symlinks=True)
    monkeypatch.chdir(tmp_path / "page")


def execute(page, line):
    try:
        documented.execute(page, line)
    except BaseException as error:
        error.__notes__ = [f"{page}: {line}"]  # add_note, which Python 3.10 lacks
        raise


@pytest.mark.parametrize("page", RUN)
def test_page_runs(page, world):
    """A reader's way: one command after the other, then the code."""
    for line in documented.lines(page):
        execute(page, line)
    names = documented.execute_code(page)
    if page == "README.md":
        assert names["images"].shape == (64, 1, 8, 8)
        assert {"test/fd_digits_1000", "test/nelbo_nats"} <= names["scores"].keys()
        assert Path("digits-vae/model.safetensors").is_file()


@pytest.mark.parametrize("part", [*documented.NOT_RUN, *documented.PARSED])
def test_no_exception_is_stale(part):
    assert any(part in line for _, line in LINES)


def test_no_page_is_left_out_for_nothing():
    assert set(documented.COMPILED) <= set(CODE)


def test_a_command_that_nobody_knows_is_told():
    with pytest.raises(ValueError, match="NOT_RUN"):
        documented.execute("README.md", "unknown runs/x")
