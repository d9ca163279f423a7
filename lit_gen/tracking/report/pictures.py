"""The pictures that a run drew while it trained, as data of an HTML file, within a number of bytes."""

import base64
import io
import re
from pathlib import Path
from typing import Any

from lit_gen.tracking.report.records import spread_evenly, up_to_the_next
from lit_gen.tracking.runs import Run

BYTES = 2_600_000  # of a run's pictures, before base64 makes them a third larger
SIDE = 1024  # pixels, of pictures that are too large together
NUMBER = 200  # of a kind, at most
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pictures_of(run: Run) -> tuple[dict[str, list[list[Any]]], list[str]]:
    """The pictures ``<kind>/step_<step>.png`` of a run.

    Returns:
        By their kind a list of step, width, height in pixels and the picture as a ``data:`` address; and, in sentences,
        what was reduced or left out.
    """
    kinds: dict[str, list[tuple[int, Path]]] = {}
    for kind in sorted({path.parent.name for folder in (*run.before, run.folder) for path in _drawn(folder)}):
        parts = [
            {int(path.stem[5:]): path for path in _drawn(folder) if path.parent.name == kind}
            for folder in (*reversed(run.before), run.folder)
        ]
        kinds[kind] = sorted((step, path) for part in up_to_the_next(parts) for step, path in part.items())
    found: dict[str, list[list[Any]]] = {}
    notes: list[str] = []
    for kind, paths in kinds.items():
        found[kind], told = _within(kind, paths, BYTES // len(kinds))
        notes += told
    return found, notes


def _drawn(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/step_*.png") if re.fullmatch(r"step_\d+", path.stem)]


def _within(kind: str, paths: list[tuple[int, Path]], budget: int) -> tuple[list[list[Any]], list[str]]:
    """Pictures as they are, if they fit; else smaller, and if that isn't enough, fewer."""
    notes = []
    chosen = spread_evenly(paths, NUMBER)
    contents = {step: path.read_bytes() for step, path in chosen}
    broken = [step for step, content in contents.items() if not _is_png(content)]
    if sum(map(len, contents.values())) > budget:
        contents = {step: _smaller(content) for step, content in contents.items() if step not in broken}
        notes.append(f"{kind}: shown as JPEG of at most {SIDE} pixels a side; the files are whole in the run's folder.")
    elif broken:
        contents = {step: content for step, content in contents.items() if step not in broken}
    steps = sorted(contents)
    number = len(steps)
    while number > 1 and sum(len(contents[step]) for step in spread_evenly(steps, number)) > budget:
        number = max(1, min(number - 1, int(number * 0.9)))
    steps = spread_evenly(steps, number) if number > 1 else steps[-1:]
    if len(steps) < len(paths) - len(broken):
        notes.append(f"{kind}: {len(steps)} of {len(paths)} pictures are shown, spread evenly.")
    if broken:
        notes.append(f"{kind}: pictures that can't be read: steps {', '.join(map(str, broken))}.")
    return [[step, *_size(contents[step]), _address(contents[step])] for step in steps], notes


def _is_png(content: bytes) -> bool:
    return content.startswith(SIGNATURE) and len(content) > 24 and content.endswith(b"IEND\xaeB`\x82")


def _smaller(content: bytes) -> bytes:
    from PIL import Image  # only where pictures are large

    with Image.open(io.BytesIO(content)) as picture:
        smaller = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
        smaller.thumbnail((SIDE, SIDE))
        made = io.BytesIO()
        smaller.save(made, "JPEG", quality=85)
    return made.getvalue()


def _size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    if content.startswith(SIGNATURE):
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return picture.size


def _address(content: bytes) -> str:
    kind = "png" if content.startswith(SIGNATURE) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
