"""Images of several classes as one picture that is about square, with a row or more for each class beside its name."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lit_gen.models.class_names import printable
from lit_gen.pictures import GAP, image_grid

if TYPE_CHECKING:  # pictures of classes alone need Pillow
    from PIL import ImageFont

MOST_NAMED = 20  # classes whose names are drawn
FONT = 12  # pixels
LONGEST = 110  # pixels of a name, beyond which it is cut


@dataclass(frozen=True)
class Layout:
    """How the images of classes lie.

    Args:
        columns: Images in a row of one class.
        beside: Classes side by side.
    """

    columns: int
    beside: int = 1


def near_square(classes: int, most: int, height: int, width: int, margin: int = 0) -> Layout:
    """The layout whose picture is nearest to a square, and which has few blanks and few classes side by side.

    Args:
        classes: How many there are.
        most: Images of the class that has most.
        height: Pixels from an image to the one below.
        width: Pixels from an image to the one beside it.
        margin: Pixels left of each class, for its name.
    """

    def badness(layout: Layout) -> float:
        rows = -(-classes // layout.beside) * -(-most // layout.columns)
        sides = layout.beside * (margin + layout.columns * width), rows * height
        blanks = rows * layout.beside * layout.columns / (classes * most)
        return abs(math.log(sides[0] / sides[1])) + math.log(blanks) / 2 + 0.6 * math.log(layout.beside)

    layouts = [Layout(c, b) for b in range(1, classes + 1) for c in range(1, most + 1) if c * b <= classes * most]
    return min(layouts, key=badness)


def class_grid(images: Tensor, labels: Tensor, names: Sequence[str], columns: int | None = None) -> Tensor:
    """Images by class, each class in rows of its own, as a uint8 picture ``(C, H, W)``.

    Args:
        images: ``(N, C, H, W)`` in [-1, 1], N > 0.
        labels: Their classes ``(N,)``; classes follow each other as they occur first.
        names: Of all classes, drawn beside the rows of up to 20.
        columns: Images in a row of one class; by default the picture is about square.
    """
    places: dict[int, list[int]] = {}
    for i, label in enumerate(labels.tolist()):
        places.setdefault(label, []).append(i)
    most = max(map(len, places.values()))
    height, width = (side + GAP for side in image_grid(images[:1]).shape[1:])
    named = len(places) <= MOST_NAMED and height > FONT + GAP
    told = [_name(names[label], height) for label in places] if named else []
    margin = max((name.shape[1] for name in told), default=0)
    layout = Layout(columns) if columns else near_square(len(places), most, height, width, margin)
    block = -(-most // layout.columns) * height - GAP, layout.columns * width - GAP
    down = -(-len(places) // layout.beside)
    step = block[0] + GAP, margin + block[1] + GAP
    grid = torch.full((images.shape[1], down * step[0] - GAP, layout.beside * step[1] - GAP), 128, dtype=torch.uint8)
    for k, chosen in enumerate(places.values()):
        top, left = k // layout.beside * step[0], k % layout.beside * step[1]
        if named:
            grid[:, top : top + height - GAP, left : left + told[k].shape[1]] = told[k]
        part = image_grid(images[chosen], columns=layout.columns)
        left += margin
        grid[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    return grid


def class_caption(labels: Tensor, names: Sequence[str]) -> str:
    """Which classes a picture of `class_grid` shows, in its order."""
    return ", ".join(printable(names[label]) for label in dict.fromkeys(labels.tolist()))


@functools.cache
def _font() -> "ImageFont.FreeTypeFont":
    """Matplotlib's own, which has the letters of more languages than Pillow's."""
    import matplotlib  # slow, and only for pictures of classes
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), FONT)


def _name(name: str, height: int) -> Tensor:
    """A class's name as a grey picture ``(H, W)`` of an image's height, for the left of its first row."""
    from PIL import Image, ImageDraw

    font = _font()
    text = printable(name)
    while text and font.getlength(text) > LONGEST:
        text = f"{text.removesuffix('…')[:-1]}…"
    picture = Image.new("L", (math.ceil(font.getlength(text)) + 4 * GAP, height - GAP), 128)
    ImageDraw.Draw(picture).text((2 * GAP, picture.height // 2), text, fill=255, font=font, anchor="lm")
    return torch.from_numpy(np.array(picture))
