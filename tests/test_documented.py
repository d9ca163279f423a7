"""Every command and every line of Python of README.md and docs/ works, as documented.py runs them."""

from pathlib import Path

import documented
import pytest

LINES = [(page, line) for page in documented.PAGES for line in documented.lines(page)]
CODE = [page for page in documented.PAGES if documented.blocks(page, "python", "py")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder, patch = tmp_path_factory.mktemp("documented"), pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.syspath_prepend(str(folder))
    patch.chdir(folder)
    documented.prepare(folder)
    yield folder
    patch.undo()


@pytest.fixture(autouse=True)
def there(world, monkeypatch):
    monkeypatch.chdir(world)


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line}" for page, line in LINES])
def test_command_runs(page, line):
    documented.execute(page, line)


@pytest.mark.parametrize("page", CODE)
def test_code_runs(page):
    names = documented.execute_code(page)
    if page == "README.md":
        assert names["images"].shape == (64, 1, 8, 8)
        assert {"test/fd_digits_1000", "test/nelbo_nats"} <= names["scores"].keys()
        assert Path("digits-vae/model.safetensors").is_file()


@pytest.mark.parametrize("part", [*documented.NOT_RUN, *documented.PARSED])
def test_no_exception_is_stale(part):
    assert any(part in line for _, line in LINES)


def test_a_command_that_nobody_knows_is_told():
    with pytest.raises(ValueError, match="NOT_RUN"):
        documented.execute("README.md", "wandb sync runs/x")
