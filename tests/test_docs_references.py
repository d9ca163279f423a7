"""The pages of docs/ name tests and files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tests_and_files_exist(page):
    text = page.read_text()
    for file, test in re.findall(r"`(?:tests/)?([\w/]+\.py)::(test_\w+)`", text):
        (path,) = [path for path in (ROOT / "tests").rglob(Path(file).name) if path.as_posix().endswith(f"/{file}")]
        assert f"def {test}(" in path.read_text(), f"{file}::{test}"
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target


def test_the_page_of_adversarial_models_leaves_no_loss_or_penalty_out():
    import lit_gen.losses as losses

    text = (ROOT / "docs" / "adversarial.md").read_text()
    bases = (losses.AdversarialLoss, losses.Penalty, losses.Constraint)
    options = [
        name
        for name in losses.__all__
        if isinstance(getattr(losses, name), type) and issubclass(getattr(losses, name), bases)
    ]
    assert len(options) > 12
    missing = [name for name in options if f"`{name}" not in text and getattr(losses, name) not in bases]
    assert not missing
