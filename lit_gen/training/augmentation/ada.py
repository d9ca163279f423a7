"""Adaptive discriminator augmentation: as strong as the discriminator's overfitting asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lit_gen.losses import AdversarialLoss
from lit_gen.precision import float32_or_better
from lit_gen.training.augmentation.base import Augmentation, Numbers, names, normal, select
from lit_gen.training.augmentation.colour import POWER, about_greys, amplify, mix, normalised_gains
from lit_gen.training.augmentation.geometry import Affine, cut_out, positions, warp
from lit_gen.training.memory import Memory

Stage = Callable[[Tensor, Numbers], tuple[Tensor, Tensor]]  # images, and which of them were chosen for a change
NUMBERS = {"blit": 7, "geom": 11, "color": 10, "filter": 8, "noise": 2, "cutout": 3}  # an image, but for pixels' own
ABBREVIATIONS = {"".join(name[0] for name in list(NUMBERS)[:n]): list(NUMBERS)[:n] for n in range(2, len(NUMBERS) + 1)}


@dataclass(frozen=True)
class ADA(Augmentation):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676).

    Every transformation is made with probability p, and p follows the discriminator: each ``interval`` of its updates,
    p += sign(r − target) · images / speed_images, kept in [0, 1], with r the mean of sign(D(augmented real) − m) in
    them and m the score at which D can't tell: 0 for logits, midway between the targets of least squares, and midway
    between the batch's real and generated scores for losses without a zero point (WGAN, relativistic). As long as
    p < 1, the distribution of augmented images says all of the images' own, and the generator learns no augmentation.
    p is logged as ``augmentation_p``.

    The transformations, in this order (their distributions are those of the paper's appendix B):

    - ``blit``: mirroring, quarter turns, shifts by whole pixels up to 1/8 of the side;
    - ``geom``: scaling, rotation, stretching, rotation, shifts by parts of a pixel;
    - ``color``: brightness, contrast, inverted lightness, hue (of RGB), saturation;
    - ``filter``: gains of four frequency bands;
    - ``noise``: normal noise on each value;  ``cutout``: a hole of half the side.

    Images are moved by one bilinear interpolation, mirrored at their borders, and bands come from binomial smoothing,
    where the paper resamples and filters with wavelets.

    Args:
        categories: Some of these, as ``"blit,geom,color"`` or a list, or by StyleGAN2-ADA's abbreviations ``bg``,
            ``bgc``, ``bgcf``, ``bgcfn``, ``bgcfnc``.
        target: What r is held at, in (−1, 1); null leaves p as it is.
        p: Probability at the start.
        speed_images: Real images in which p would go from 0 to 1.
        interval: Discriminator updates from one change of p to the next.

    Raises:
        ValueError: for an unknown category or a number out of its range.
    """

    categories: str | Sequence[str] = "bgc"
    target: float | None = 0.6
    p: float = 0.0
    speed_images: int = 500_000
    interval: int = 4

    def __post_init__(self) -> None:
        known = [*NUMBERS, *ABBREVIATIONS]
        chosen = names(self.categories, known, "categories", "ADA")
        chosen = ABBREVIATIONS[chosen[0]] if chosen[0] in ABBREVIATIONS and len(chosen) == 1 else chosen
        if not set(chosen) <= NUMBERS.keys():
            raise ValueError(f"categories={self.categories!r}: ADA takes one abbreviation or names, not both")
        object.__setattr__(self, "categories", ",".join(name for name in NUMBERS if name in chosen))
        if not 0 <= self.p <= 1:
            raise ValueError(f"p={self.p}: ADA needs a probability, from 0 to 1")
        if self.target is not None and not -1 < self.target < 1:
            raise ValueError(
                f"target={self.target}: ADA needs a mean of signs, between -1 and 1, or null for a fixed p"
            )
        for name in ("speed_images", "interval"):
            if not (isinstance(number := getattr(self, name), int) and number >= 1):
                raise ValueError(f"{name}={number}: ADA needs a whole number, at least 1")

    def numbers(self, image_shape: tuple[int, ...]) -> int:
        """Those of its categories; noise takes one for each value of an image besides."""
        chosen = str(self.categories).split(",")
        return sum(NUMBERS[name] for name in chosen) + (math.prod(image_shape) if "noise" in chosen else 0)

    def memory(self) -> Adaptation | None:
        """p and what it follows; none for a fixed p."""
        return None if self.target is None else Adaptation(self)

    def __call__(self, images: Tensor, numbers: Tensor, memory: Any = None) -> Tensor:
        """Images ``(N, C, H, W)`` transformed by uniform numbers ``(N, K)``, with the memory's p if there is one."""
        p = self.p if memory is None else memory.p
        return self._transformed(images, numbers, p).to(images.dtype)

    @float32_or_better
    def _transformed(self, images: Tensor, numbers: Tensor, p: float | Tensor) -> Tensor:
        drawn, chosen = Numbers(numbers, p), str(self.categories).split(",")
        stages: dict[str, Stage] = {"color": _colour, "filter": _filter, "noise": _noise, "cutout": _cutout}
        made = [stage for name, stage in stages.items() if name in chosen]
        if "blit" in chosen or "geom" in chosen:
            made.insert(0, partial(_move, blit="blit" in chosen, geom="geom" in chosen))
        x, changed = images, torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for stage in made:
            x, by_stage = stage(x, drawn)
            changed = changed | by_stage
        return select(changed, x, images)  # others went through identities, which round


class Adaptation(Memory):
    """The probability of an :class:`ADA`, which follows the signs of the discriminator's real scores.

    Args:
        option: Its target, start, speed and interval.

    Attributes:
        p: The probability, a scalar on the device.
    """

    p: Tensor
    signs: Tensor
    images: Tensor
    updates: Tensor

    def __init__(self, option: ADA) -> None:
        super().__init__()
        self.option = option
        self.register_buffer("p", torch.tensor(float(option.p)))
        self.register_buffer("signs", torch.zeros(()))  # summed since p was last changed, as the next two
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def tell(self, values: dict[str, Tensor]) -> None:
        """Take the update's mean sign ``real_sign`` and its number of ``images``; asks no device for a value."""
        assert self.option.target is not None
        self.signs += values["real_sign"]
        self.images += values["images"].to(self.images)
        self.updates += 1
        due = self.updates == self.option.interval
        step = (self.signs / self.option.interval - self.option.target).sign() * self.images / self.option.speed_images
        self.p.copy_(torch.where(due, self.p + step, self.p).clamp(0, 1))
        for sum_ in (self.signs, self.images, self.updates):
            sum_.masked_fill_(due, 0)


def followed(
    memory: Any, loss: AdversarialLoss, real_scores: Tensor, fake_scores: Tensor, mean: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """What an :class:`Adaptation` is told of an update's scores, beside p itself; nothing for other memories.

    Args:
        memory: Of the augmentation, or None.
        loss: Knows at which score D can't tell.
        real_scores: D of augmented real images, of any shape.
        fake_scores: D of augmented generated images.
        mean: The mean over all parts of the batch and all processes of one over the samples at hand.
    """
    if not isinstance(memory, Adaptation):
        return {}
    midway: Any = loss.boundary
    if midway is None:
        midway = mean((real_scores.mean() + fake_scores.mean()) / 2)
    return {"real_sign": (real_scores.detach() - midway).sign().mean(), "augmentation_p": memory.p.clone()}


def _move(x: Tensor, drawn: Numbers, blit: bool, geom: bool) -> tuple[Tensor, Tensor]:
    """All changes of place as one map, and one interpolation; one that isn't chosen is a change by nothing."""
    (height, width), maps, moved = x.shape[2:], Affine(x), []
    if blit:
        flip = drawn.gate() & (drawn.integer(2) == 1)
        maps.scale(1 - 2.0 * flip, torch.ones_like(x[:, 0, 0, 0]))
        turns = drawn.gate() * drawn.integer(4)
        maps.turn((1 - turns) * (turns % 2 == 0), (2 - turns) * (turns % 2 == 1))
        shifted, by = drawn.gate(), (2 * drawn.uniforms(2) - 1) / 8
        right, down = (shifted[:, None] * by).unbind(1)
        maps.shift(-(right * width).round(), -(down * height).round())
        moved += [flip, turns > 0, shifted]
    if geom:
        p_turn = 1 - (1 - torch.as_tensor(drawn.p, dtype=x.dtype, device=x.device)).sqrt()  # of either of two rotations
        for stretch in (False, True):
            scaled, exponent = drawn.gate(), 0.2 * drawn.normal()
            smaller, larger = torch.exp2(-(scaled * exponent)), torch.exp2(scaled * exponent)
            maps.scale(smaller, larger if stretch else smaller)
            turned, angle = drawn.gate(p_turn), math.pi * (2 * drawn.uniform() - 1)
            maps.turn((turned * angle).cos(), (turned * angle).sin())
            moved += [scaled, turned]
        shifted, right, down = drawn.gate(), drawn.normal() / 8, drawn.normal() / 8
        maps.shift(-(shifted * right * width), -(shifted * down * height))
        moved.append(shifted)
    return warp(x, maps.matrices()), torch.stack(moved).any(0)


def _colour(x: Tensor, drawn: Numbers) -> tuple[Tensor, Tensor]:
    """Brightness, contrast, inverted lightness, hue and saturation as one linear map of the channels.

    Each scales pixels' parts along the axis of greys or turns and scales those across it, so that their product does.
    """
    channels = x.shape[1]
    lighter, brightness = drawn.gate(), 0.2 * drawn.normal()
    contrasted, contrast = drawn.gate(), torch.exp2(0.5 * drawn.normal())
    inverted = drawn.gate() & (drawn.integer(2) == 1)
    turned, angle = drawn.gate(), math.pi * (2 * drawn.uniform() - 1)
    saturated, saturation = drawn.gate(), torch.exp2(drawn.normal())
    across = torch.where(contrasted, contrast, 1)
    along = across * (1 - 2.0 * inverted)
    across = across * torch.where(saturated, saturation, 1)
    maps = about_greys(channels, along, across, turned * angle)
    chosen = [lighter, contrasted, inverted]
    chosen += [saturated] if channels > 1 else []
    chosen += [turned] if channels == 3 else []
    return mix(x, maps, (along * lighter * brightness)[:, None].expand(-1, channels)), torch.stack(chosen).any(0)


def _filter(x: Tensor, drawn: Numbers) -> tuple[Tensor, Tensor]:
    """Each of four bands amplified or damped with probability p."""
    gains = torch.ones(len(x), len(POWER), dtype=x.dtype, device=x.device)
    changed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for band in range(len(POWER)):
        chosen, gain = drawn.gate(), 2 ** drawn.normal()
        gains = select(chosen, gains * normalised_gains(band, gain), gains)
        changed = changed | chosen
    return amplify(x, gains), changed


def _noise(x: Tensor, drawn: Numbers) -> tuple[Tensor, Tensor]:
    """N(0, σ²) on every value, σ half-normal of scale 0.1."""
    chosen, scale = drawn.gate(), 0.1 * normal(0.5 + drawn.uniform() / 2)
    noise = normal(drawn.uniforms(math.prod(x.shape[1:]))).view(x.shape)
    return x + (chosen * scale).view(-1, 1, 1, 1) * noise, chosen


def _cutout(x: Tensor, drawn: Numbers) -> tuple[Tensor, Tensor]:
    """A hole of half the height and width around a uniform centre."""
    chosen, down, right = drawn.gate(), drawn.uniform(), drawn.uniform()
    rows, columns = (
        ((at + 0.5) / side - centre[:, None]).abs() < 0.25
        for at, side, centre in zip(positions(x), x.shape[2:], (down, right), strict=True)
    )
    return cut_out(x, rows & chosen[:, None], columns), chosen
