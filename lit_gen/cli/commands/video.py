"""``lit-gen video``: the pictures that a run has saved, over time, as one video. Imports no torch."""

import re
import sys
from pathlib import Path

import numpy as np

from lit_gen.cli.words import CommandParser, report
from lit_gen.videos import save_video


def parser() -> CommandParser:
    """The command's options."""
    command = CommandParser("video", "A run's pictures over time as one video.")
    command.add_argument("run", help="a run's folder, runs/<experiment>/<time>")
    command.add_argument("--out", default="video.gif", help="a .gif, .webp or, by ffmpeg, .mp4 file (video.gif)")
    command.add_argument("--of", default="samples", help="the folder of the run's pictures (samples)")
    command.add_argument("--fps", type=float, default=4.0, help="pictures a second (4)")
    command.add_argument("--hold", type=float, default=2.0, help="seconds that the last one stays (2)")
    return command


def run(arguments: list[str]) -> None:
    """Write the video.

    Raises:
        SystemExit: with status 2, for a folder without pictures of steps, pictures of several sizes, or a file that
            can't be written.
    """
    options = parser().parse_args(arguments)
    out = Path(options.out)
    try:
        if not 0 <= options.hold < 3600:
            raise ValueError(f"--hold {options.hold:g}: from 0 to 3600 seconds")
        paths = pictures_of_steps(Path(options.run), options.of)
        save_video(out, frames(paths), options.fps, options.hold)
    except (ValueError, OSError) as error:
        sys.exit(report(str(error)))
    print(f"lit-gen: {len(paths)} pictures, steps {step_of(paths[0])} to {step_of(paths[-1])}, in {out}")


def pictures_of_steps(run: Path, of: str) -> list[Path]:
    """The pictures ``step_<step>.png`` of a run, in the order of steps.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds none.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"{run}: there is no such folder")
    found = sorted((path for path in run.joinpath(of).glob("step_*.png") if step_of(path) >= 0), key=step_of)
    if not found:
        others = sorted({path.parent.name for path in run.glob("*/step_*.png")})
        hint = f"; there are pictures in {', '.join(others)} (--of)" if others else ""
        raise ValueError(f"{run}: holds no {of}/step_<step>.png{hint}")
    return found


def step_of(path: Path) -> int:
    """The training step in a picture's name; −1 where there is none."""
    named = re.fullmatch(r"step_(\d+)\.png", path.name)
    return int(named[1]) if named else -1


def frames(paths: list[Path]) -> list[np.ndarray]:
    """The pictures, in colour if any of them is.

    Raises:
        ValueError: for pictures of several sizes.
    """
    from PIL import Image

    found = []
    for path in paths:
        with Image.open(path) as picture:
            found.append(np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB")))
    if len(sizes := {frame.shape[:2] for frame in found}) > 1:
        told = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise ValueError(f"{paths[0].parent}: pictures of several sizes ({told})")
    colour = any(frame.ndim == 3 for frame in found)
    return [np.stack([frame] * 3, 2) if colour and frame.ndim == 2 else frame for frame in found]
