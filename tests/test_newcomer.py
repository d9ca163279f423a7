"""The README's commands, in order, of one who has a folder of pictures: each shortened, none left out."""

import glob
import shlex
from pathlib import Path

import documented
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
SHORT = {  # what is added so that it takes seconds
    "fit": [
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--samples.num_samples=4",
        "--data.batch_size=8",
        "--evaluate.batch_size=16",
        "--trainer.enable_progress_bar=false",
        "--trainer.accelerator=cpu",
    ],
    "evaluate": ["--json", "scores.json"],
    "explore": ["--space", "page"],  # the page as a folder, which needs no server
}
LEFT = {  # what each leaves behind
    "sample": "samples.png",
    "check": "photos",
    "fit": "runs/photos/*/model/model.safetensors",
    "evaluate": "scores.json",
    "report": "report.html",
    "explore": "page/app.py",
    "export": "photos.onnx",
}


def path() -> list[list[str]]:
    """First samples, then the section of the folder, as arguments of lit-gen."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## From a folder of pictures") :].split("```")[1].removeprefix("bash\n")
    first = text.split("```")[1].removeprefix("sh\n")
    commands = [shlex.split(line, comments=True) for line in (first + section).splitlines()]
    return [command[1:] for command in commands if command[0] == "lit-gen"]


def pictures(folder: Path) -> None:
    """Discs of three colours on grey, of three sizes, as a camera's and a phone's."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        height, width = ((32, 32), (48, 64), (90, 60))[i % 3]
        y, x = np.mgrid[:height, :width]
        centre, radius = random.integers(8, 24, 2), random.integers(4, 9)
        image = np.full((height, width, 3), 128, np.uint8)
        image[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] = np.eye(3, dtype=np.uint8)[i % 3] * 255
        Image.fromarray(image).save(folder / f"{i:02d}.png")


def test_the_path_is_whole():
    assert [command[0] for command in path()] == list(LEFT)


def test_the_path_of_a_newcomer(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pictures(tmp_path / "photos")
    for command in path():
        given = [found for part in command for found in (glob.glob(part) if "*" in part else [part])]
        documented.run([*given, *SHORT.get(given[0], [])])
        assert glob.glob(LEFT[given[0]]), shlex.join(given)
        if given[0] == "check":
            assert "40 images" in capsys.readouterr().out
    assert '"fd_pixels' in Path("scores.json").read_text()
    assert "photos" in Path("report.html").read_text()
