"""The notebook docs/tour.ipynb runs from top to bottom, and is kept without outputs."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"
NOTEBOOK = json.loads(TOUR.read_text())
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


SHELL = r'subprocess.run([sys.executable, "-m", "lit_gen", *"\1".split()], check=True)'


def program(cells: list[str], short: bool) -> str:
    """The cells as one script that evaluates the last line of each, as a notebook does, and shows pictures as files."""
    lines = ["import subprocess, sys", "import PIL.Image", "SHOWN = []"]
    for cell in cells:
        code = re.sub(r"^!lit-gen (.+)$", SHELL, cell)
        code = re.sub(r"max_steps=\d+", "max_steps=3", code) if short else code
        tree = ast.parse(code)
        if isinstance(last := tree.body[-1], ast.Expr):
            tree.body[-1] = ast.parse(f"SHOWN.append({ast.unparse(last.value)})").body[0]
        lines.append(ast.unparse(tree))
    lines += [
        "for i, shown in enumerate(SHOWN):",
        "    if isinstance(shown, PIL.Image.Image): shown.save(f'shown_{i:02d}.png')",
        "import json; open('measured.json', 'w').write(json.dumps({**scores, **bound}))",
    ]
    return "\n".join(lines)


def run(folder: Path, short: bool) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", program(CODE, short)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "same digit as the nearest code" in done.stdout
    assert len([*folder.glob("shown_*.png")]) == 6
    assert (folder / "decoder.pt2").is_file()
    return json.loads((folder / "measured.json").read_text())


def test_it_runs_from_top_to_bottom(tmp_path):
    assert {"val/fd_digits_1000", "val/nelbo_nats"} <= run(tmp_path, short=True).keys()


@pytest.mark.slow
def test_what_it_trains_is_worth_showing(tmp_path):
    measured = run(tmp_path, short=False)
    assert measured["val/fd_digits_1000"] < 60  # an untrained network has some 880
    assert measured["val/nelbo_nats"] < 26


def test_it_is_kept_without_outputs():
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
    assert NOTEBOOK["nbformat"] == 4
    text = "".join(line for cell in NOTEBOOK["cells"] for line in cell["source"])
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets
    assert all((TOUR.parent / target).is_file() for target in targets)
