"""What the page's controls ask of a model, as uint8 pictures ``(H, W[, 3])`` and latents. Knows no Gradio."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_gen.cli.exploring.axes import Axes
from lit_gen.cli.exploring.latents import (
    MOST,
    Latents,
    PathKind,
    arrays,
    draw,
    from_code,
    images_of,
    moved,
    path,
    traversal,
)
from lit_gen.cli.exploring.uploads import read_fitted, read_whole
from lit_gen.latent_space import Directions, Search, invert
from lit_gen.latent_space.inversion import psnr
from lit_gen.models import GenerativeModel, LatentVariableModel
from lit_gen.models.class_names import class_number
from lit_gen.models.translation import TranslationModel
from lit_gen.pictures import GAP, channels_last, image_grid

SLIDERS = 8
REACH = 4.0  # of a slider, to either side
STEPS = 7  # pictures in a row of a traversal
SMALL, LARGE = 88, 320  # pixels to which small images are magnified at least, in grids and alone
MOST_STEPS = 600
CANDIDATES = 512  # of a search: fewer than by default, for one picture at a time


@dataclass(frozen=True)
class Reconstruction:
    """A picture, and what a model makes of it.

    Attributes:
        seen: The picture as the model takes it.
        made: The model's own.
        told: How near it comes, in a sentence.
        latents: Where sliders and paths may start from; None for latents that are no vectors.
        arrays: What a file of the latents holds.
    """

    seen: np.ndarray
    made: np.ndarray
    told: str
    latents: Latents | None
    arrays: dict[str, np.ndarray]


class Explorer:
    """A model and what can be asked of it.

    Args:
        model: A trained model.
        name: By which the page calls it.
        directions: A folder of ``lit-gen directions`` for the sliders.

    Raises:
        FileNotFoundError: if there are no directions.
        ValueError: for a model whose samples are no pictures, or directions that aren't the model's.
    """

    def __init__(self, model: GenerativeModel, name: str, directions: str | Path | None = None) -> None:
        shape = model.picture_shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ValueError(f"{name}: samples of shape {shape} are no pictures, which a page could show")
        self.model: Any = model
        self.name, self.channels = name, shape[0]
        self.draws = isinstance(model, LatentVariableModel)
        self.encodes = hasattr(model, "encode")
        self.translates_to = model.translates_to if isinstance(model, TranslationModel) else ()
        self.class_names: tuple[str, ...] = tuple(getattr(model, "class_names", ()))
        if isinstance(model, LatentVariableModel):
            self.directions = Axes(model, directions)
            self.sliders = min(SLIDERS, model.noise_dim)
        elif directions is not None:
            raise ValueError(f"--directions {directions}: a {type(model).__name__} has no latents to move along them")

    def told(self) -> str:
        """What the model is, in a line."""
        channels, height, width = self.model.picture_shape
        parts = [f"{type(self.model).__name__} of {width} × {height} pixels in {'grey' if channels == 1 else 'colour'}"]
        if self.draws:
            parts.append(f"{self.model.noise_dim} latent dimensions")
        elif not self.translates_to:
            parts.append("latents of " + " × ".join(map(str, self.model.latent_shape)))
        if self.class_names:
            parts.append(f"{len(self.class_names)} classes")
        return ", ".join(parts)

    # ---- samples

    def samples(
        self, seed: float | None, count: int, name: str | None, truncation: float
    ) -> tuple[np.ndarray, Latents]:
        """A grid of the first pictures of a seed, and the latents.

        Args:
            seed: A whole number from 0 to 2³² − 1.
            count: 1 to 64.
            name: Of the class; none for random ones.
            truncation: 0 for none.

        Raises:
            ValueError: for one of them out of range.
        """
        number = whole("seed", seed, 0, 2**32 - 1)
        count = whole("pictures", count, 1, MOST)
        if not 0 <= truncation <= 10:
            raise ValueError(f"truncation {truncation}: from 0, for none, to 10")
        latents = draw(self.model, number, self.label(name), truncation)[:count]
        return self.grid(latents), latents

    def label(self, name: str | None) -> int | None:
        """The number of a class; None for no name.

        Raises:
            ValueError: for none of the model's.
        """
        return class_number(name, self.class_names) if name else None

    def of_class(self, latents: Latents, name: str | None) -> Latents:
        """The same z in another class; no name for their own."""
        label = self.label(name)
        return latents if label is None else Latents(latents.z, torch.full((len(latents),), label))

    def at(self, latents: Latents, x: float, y: float) -> Latents:
        """The latents of the picture at a pixel of the grid."""
        size = image_grid(torch.zeros(1, *self.model.picture_shape), cell=SMALL).shape
        columns = grid_columns(len(latents))
        row, column = (int(place // (side + GAP)) for place, side in zip((y, x), size[1:], strict=True))
        number = min(row * columns + min(column, columns - 1), len(latents) - 1)
        return latents[number : number + 1]

    # ---- sliders and paths

    def axes(self, kind: str, first: float | None) -> Directions:
        """The directions of the sliders, at most ``sliders`` of them.

        Args:
            kind: One of those of ``directions``.
            first: Number of the first, from 1.

        Raises:
            ValueError: for one out of range.
        """
        found = self.directions.of(kind)
        count = min(self.sliders, len(found.names))
        start = whole("first slider", first, 1, len(found.names) - count + 1) - 1
        shown = slice(start, start + count)
        return Directions(found.names[shown], found.vectors[shown], found.weights[shown])

    def slid(self, start: Latents, axes: Directions, amounts: list[float]) -> tuple[np.ndarray, Latents]:
        """The picture of a start after the sliders have moved, and its latents; those beyond the axes are idle."""
        end = moved(start, axes.vectors, [float(amount) for amount in amounts[: len(axes.names)]])
        return self.picture(end), end

    def rows(self, start: Latents, axes: Directions) -> np.ndarray:
        """What each slider does to a start: a row each, from its one end to the other."""
        return self.grid(traversal(start, axes.vectors, torch.linspace(-REACH, REACH, STEPS)), STEPS)

    def path(self, start: Latents, end: Latents, kind: PathKind, steps: int) -> tuple[np.ndarray, Latents]:
        """A row of pictures from one to the other, ends included, and their latents."""
        places = torch.linspace(0, 1, whole("steps", steps, 2, MOST))
        latents = path(start, end, kind, places)
        return self.grid(latents, min(len(latents), 8)), latents

    def place(self, start: Latents, end: Latents, kind: PathKind, place: float) -> np.ndarray:
        """The picture at a place from 0 to 1 of the path."""
        return self.picture(path(start, end, kind, torch.tensor([float(place)])))

    # ---- pictures from elsewhere

    def reconstruct(self, file: str | None, name: str | None, negative: bool, steps: int = 0) -> Reconstruction:
        """The model's picture that is nearest to a given one, by its encoder or by a search.

        Args:
            file: Path of the picture.
            name: Of its class, if the model is conditional.
            negative: Whether black and white change places first.
            steps: Of a search, which models without an encoder need; 0 for what the encoder says.

        Raises:
            ValueError: for no picture, no class where one is needed, or steps out of range.
        """
        images = read_fitted(file, self.model.picture_shape, negative)
        if not self.draws:
            latents = self.model.encode(images)
            made, start = self.model.decode(latents).float().cpu(), None
            kept = {"latents": latents.float().cpu().numpy()}
        else:
            if self.class_names and not name:
                raise ValueError("class: a conditional model needs to be told that of the picture")
            labels = torch.tensor([self.label(name)]) if self.class_names else None
            start = Latents(from_code(self.model, self._code(images, labels, steps)), labels)
            made, kept = images_of(self.model, start), arrays(start, self.class_names)
        near = psnr((made - images).square().mean()).item()
        return Reconstruction(self.alone(images), self.alone(made), f"PSNR {near:.1f} dB", start, kept)

    def _code(self, images: Tensor, labels: Tensor | None, steps: int) -> Tensor:
        """Latents ``(1, latent_dim)`` of a picture."""
        steps = whole("steps", steps, 0, MOST_STEPS)
        if self.encodes and steps == 0:
            return self.model.encode(self.model.from_pictures(images), *(() if labels is None else (labels,)))
        return invert(self.model, images, labels, Search(candidates=CANDIDATES, steps=steps)).latents

    def translate(self, file: str | None, to: str) -> list[np.ndarray]:
        """A picture at its own size, its translation to the domain ``a`` or ``b``, and that one's way back, if any.

        Raises:
            ValueError: for no picture, or one whose size the networks don't take.
        """
        images = read_whole(file, self.channels)
        made = [self.model.translate(images, to=to)]
        if (source := "a" if to == "b" else "b") in self.translates_to:
            made.append(self.model.translate(made[0], to=source))
        return [self.alone(images), *(self.alone(x.float().cpu()) for x in made)]

    # ---- pictures

    def grid(self, latents: Latents, columns: int | None = None) -> np.ndarray:
        """The images of latents side by side."""
        columns = columns or grid_columns(len(latents))
        return channels_last(image_grid(images_of(self.model, latents), columns=columns, cell=SMALL))

    def picture(self, latents: Latents) -> np.ndarray:
        """The image of one."""
        return self.alone(images_of(self.model, latents))

    def alone(self, images: Tensor) -> np.ndarray:
        """One image ``(1, C, H, W)``, a small one magnified."""
        return channels_last(image_grid(images, cell=LARGE))


def grid_columns(count: int) -> int:
    """Of a grid that is as square as it can be, and rather wide than high."""
    return int(np.ceil(np.sqrt(count)))


def whole(name: str, number: float | None, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        ValueError: naming it.
    """
    if number is None or not float(number).is_integer() or not least <= number <= most:
        raise ValueError(f"{name} {number!s:.20}: a whole number from {least} to {most}")
    return int(number)
