"""Pictures over time as one file, whole or absent. Imports no torch."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_gen.files import whole_file

KINDS = (".gif", ".webp", ".mp4")
FASTEST = 50  # frames a second: the least time that players of GIF keep to is 20 ms


def check_video(path: str | Path, fps: float) -> None:
    """Refuse what can't be written, before there are frames.

    Raises:
        ValueError: for another suffix, a format that this machine can't write, or a number of frames a second.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        raise ValueError(f"{path}: a video is a {', '.join(KINDS[:-1])} or {KINDS[-1]} file")
    if not 0 < fps <= FASTEST:
        raise ValueError(f"{path}: {fps:g} frames a second; more than 0, and at most {FASTEST}")
    if suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise ValueError(f"{path}: .mp4 needs the program ffmpeg, which is not installed; .gif and .webp need none")
    if suffix == ".webp":
        from PIL import features

        if not features.check("webp"):
            raise ValueError(f"{path}: this Pillow can't write .webp; .gif works")


def save_video(path: str | Path, frames: Sequence[np.ndarray], fps: float, hold: float = 0.0) -> None:
    """Write frames that repeat for ever, in the format of the path's suffix: GIF, lossless WebP, or H.264 by ffmpeg.

    Args:
        path: The file.
        frames: uint8 ``(H, W)`` or ``(H, W, 3)``, all of one shape.
        fps: Frames a second; a GIF's times are whole hundredths of a second.
        hold: Seconds that the last frame stays beyond its own time.

    Raises:
        ValueError: for no frames, frames of several shapes, and as `check_video`.
    """
    check_video(path, fps)
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        raise ValueError(f"{path}: frames of {len(shapes)} shapes; at least one frame, and all of one shape")
    if Path(path).suffix.lower() == ".mp4":
        _encode(Path(path), frames, fps, hold)
        return
    from PIL import Image

    is_gif = Path(path).suffix.lower() == ".gif"
    unit = 10 if is_gif else 1  # milliseconds
    each = max(unit, round(1000 / fps / unit) * unit)
    durations = [each] * (len(frames) - 1) + [each + round(1000 * hold / unit) * unit]
    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    options: dict[str, Any] = {"format": "GIF", "optimize": False} if is_gif else {"format": "WEBP", "lossless": True}
    with whole_file(path) as file:
        pictures[0].save(file, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options)


def _encode(path: Path, frames: Sequence[np.ndarray], fps: float, hold: float) -> None:
    """By ffmpeg, which wants a file that it can go back in."""
    height, width = frames[0].shape[:2]
    layout = "gray" if frames[0].ndim == 2 else "rgb24"
    still = [frames[-1]] * round(hold * fps)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "video.mp4")
        command = ["ffmpeg", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", layout, "-s", f"{width}x{height}"]
        command += [
            "-r",
            f"{fps:g}",
            "-i",
            "-",
            "-vf",
            "pad=ceil(iw/2)*2:ceil(ih/2)*2",
            "-pix_fmt",
            "yuv420p",
            str(made),
        ]
        pixels = b"".join(np.ascontiguousarray(frame).tobytes() for frame in [*frames, *still])
        done = subprocess.run(command, input=pixels, capture_output=True, check=False)
        if done.returncode != 0 or not made.is_file():
            told = done.stderr.decode(errors="replace").strip().splitlines()
            raise ValueError(f"{path}: ffmpeg could not write it: {told[-1] if told else f'status {done.returncode}'}")
        with whole_file(path) as file, made.open("rb") as source:
            shutil.copyfileobj(source, file)
