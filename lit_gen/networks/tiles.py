"""Pictures of any size through a translator, as a whole or by overlapping tiles, which give the same.

A part of a picture that reaches beyond the wanted pixels by the network's receptive field gives them as the whole
picture would, with one exception: instance and group norm take mean and variance over all positions. So the tiles are
swept several times. The first sweep goes as far as the first norm and finds its statistics over the whole picture; the
second uses them and finds those of the second norm, and so on; the last one, with all statistics, translates. With n
norms that takes about n/2 times the work of one sweep, and no more memory than a tile does.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.networks.base import Translator
from lit_gen.precision import at_least_float32, float32_or_better, to_float64

TILE = 1024  # pixels
Statistics = Literal["exact", "reduced"]


def translate_any_size(
    network: Translator, images: Tensor, tile: int | None = None, statistics: Statistics = "exact"
) -> Tensor:
    """Translate images of any height and width.

    They are continued by reflection, to the right and downwards, to a size that the network takes, and what it makes of
    that is cut off again. Larger ones than a tile go through it in tiles, and the largest map in memory is a tile's.

    Args:
        network: of the images' channels.
        images: `(N, C, H, W)` in [-1, 1], H and W at least 1.
        tile: side in pixels of what passes the network at once, the overlap of twice its reach included; None takes
            1024, or four times the reach where that is more.
        statistics: of instance and group norms in tiles: "exact" ones are the whole picture's, by a sweep for each
            norm; "reduced" ones come from one pass of the picture, reduced to the size of a tile, and are another
            picture's therefore.

    Returns:
        `(N, network.out_channels, H, W)` in [-1, 1].

    Raises:
        ValueError: for an empty image, a network that takes one size alone, a tile that holds nothing but overlap, or
            other statistics.
    """
    height, width = images.shape[-2:]
    check_statistics(statistics)
    if not network.any_size and tuple(images.shape[1:]) != network.image_shape:
        raise ValueError(
            f"images of shape {tuple(images.shape)}: {type(network).__name__} takes (N, *{network.image_shape}) alone"
        )
    if min(height, width) < 1:
        raise ValueError(f"images of shape {tuple(images.shape)}: height and width must be at least 1")
    sides = [max(network.least_side, -(-side // network.stride) * network.stride) for side in (height, width)]
    images = images[..., _reflected(height, sides[0], images), :][..., _reflected(width, sides[1], images)]
    largest = tile_side(network, tile)
    if largest is None or max(sides) <= largest:
        translated = network(images)
    else:
        parts = [_by_tiles(network, image, largest, statistics) for image in images.split(1)]
        translated = torch.cat(parts)
    return translated[..., :height, :width]


def check_statistics(statistics: str) -> None:
    """Refuse statistics that there are not.

    Raises:
        ValueError: naming those that there are.
    """
    if statistics not in get_args(Statistics):
        raise ValueError(f"statistics={statistics!r}: must be 'exact' or 'reduced'")


def tile_side(network: Translator, tile: int | None = None) -> int | None:
    """The largest side that passes the network at once, or None if it takes pictures as a whole alone.

    Raises:
        ValueError: for a tile that holds nothing but overlap.
    """
    if network.reach is None:
        return None
    overlap = 2 * _aligned(network)
    if tile is None:
        return max(TILE // network.stride * network.stride, 2 * overlap)
    if tile < overlap + network.stride:
        raise ValueError(
            f"tile={tile}: {type(network).__name__} looks {network.reach} pixels around, so that a tile needs at least "
            f"{overlap + network.stride}"
        )
    return tile // network.stride * network.stride


class Span(NamedTuple):
    """Along one side: the pixels that pass the network, and those of them that it gives as the whole would."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def wanted(self) -> slice:
        """The latter in the picture."""
        return slice(self.first, self.last)

    def inner(self, size: int) -> slice:
        """The latter in a map of `size` positions for the former."""
        scale = (self.stop - self.start) // size
        return slice((self.first - self.start) // scale, (self.last - self.start) // scale)


class Tile(NamedTuple):
    """Spans of both sides."""

    rows: Span
    columns: Span

    def inner(self, x: Tensor) -> Tensor:
        """What of a map `(N, C, h, w)` is as in the whole picture."""
        return x[..., self.rows.inner(x.shape[-2]), self.columns.inner(x.shape[-1])]


def _spans(side: int, tile: int, network: Translator) -> list[Span]:
    overlap, spans, first = _aligned(network), [], 0
    while first < side:
        start = max(0, first - overlap)
        stop = min(side, start + tile)
        last = side if stop == side else stop - overlap
        spans.append(Span(start, stop, first, last))
        first = last
    return spans


def _aligned(network: Translator) -> int:
    """The reach, as a multiple of the stride: tiles then halve at the same pixels as the whole."""
    assert network.reach is not None
    return -(-network.reach // network.stride) * network.stride


def _by_tiles(network: Translator, image: Tensor, side: int, statistics: Statistics) -> Tensor:
    rows, columns = (_spans(pixels, side, network) for pixels in image.shape[-2:])
    grid = [Tile(*spans) for spans in itertools.product(rows, columns)]
    translated = image.new_empty(1, network.out_channels, *image.shape[-2:])
    with PictureStatistics(network) as found:
        if statistics == "reduced":
            found.take(_reduced(network, image, side))
        while not found.complete:
            for tile in grid:
                part = image[..., tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
                of_tile = found.through(part, tile)
                if of_tile is not None:
                    translated[..., tile.rows.wanted, tile.columns.wanted] = tile.inner(of_tile)
            found.next_sweep()
    return translated


def _reduced(network: Translator, image: Tensor, side: int) -> Tensor:
    """The picture, its larger side reduced to `side`, as sizes that the network takes."""
    scale = side / max(image.shape[-2:])
    sides = [
        max(network.least_side, round(pixels * scale / network.stride) * network.stride) for pixels in image.shape[-2:]
    ]
    return F.interpolate(image, sides, mode="bilinear", antialias=True)


class _Moments:
    """Number, mean and squared deviations of the values of each group of channels, over all tiles."""

    def __init__(self) -> None:
        self.count, self.mean, self.deviations = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Of a tile, `(groups, values)` (Chan et al. 1979, Updating formulae and a pairwise algorithm)."""
        variance, mean = (to_float64(value) for value in torch.var_mean(at_least_float32(x), 1, correction=0))
        added, total = x.shape[1], self.count + x.shape[1]
        difference = mean - self.mean.to(mean)
        self.deviations = self.deviations.to(mean) + added * variance + difference**2 * (self.count * added / total)
        self.mean = self.mean.to(mean) + difference * (added / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """Over all values."""
        return self.deviations / self.count


class _Found(Exception):
    """A pass has come as far as it has to."""


class PictureStatistics:
    """Within, a network's instance and group norms use the statistics of all tiles of a picture, as far as found.

    Args:
        network: in eval mode.

    Attributes:
        complete: whether the last sweep has translated all tiles.
    """

    def __init__(self, network: nn.Module):
        self.network = network
        self.norms = [layer for layer in network.modules() if _over_positions(layer)]
        # Of each call of a norm in their order, as a layer may be called twice.
        self.known: list[_Moments] = []
        self.complete = False
        self._sought: _Moments | None = None
        self._taking = False
        self._tile: Tile | None = None
        self._call = 0
        self._handles: list[Any] = []

    def __enter__(self) -> PictureStatistics:
        self._handles = [norm.register_forward_hook(self._replace) for norm in self.norms]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def take(self, image: Tensor) -> None:
        """The statistics of all norms in one pass of this image."""
        self._taking = True
        self.network(image)
        self._taking = False

    def through(self, part: Tensor, tile: Tile) -> Tensor | None:
        """What the network makes of the tile, or None where it has met a norm whose statistics are sought."""
        self._tile, self._call = tile, 0
        try:
            return self.network(part)
        except _Found:
            return None

    def next_sweep(self) -> None:
        """Use what this sweep has found from now on."""
        if self._sought is None:
            self.complete = True
        else:
            self.known.append(self._sought)
            self._sought = None

    def _replace(self, norm: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        x, groups = inputs[0], norm.num_groups if isinstance(norm, nn.GroupNorm) else inputs[0].shape[1]
        if self._taking:  # of a picture as a whole, whose own statistics the output has
            self.known.append(_Moments())
            self.known[-1].add(x.reshape(groups, -1))
            return output
        if self._call == len(self.known):
            assert self._tile is not None
            self._sought = self._sought or _Moments()
            self._sought.add(self._tile.inner(x).reshape(groups, -1))
            raise _Found
        moments = self.known[self._call]
        self._call += 1
        of_channels = (m.repeat_interleave(x.shape[1] // groups) for m in (moments.mean, moments.variance))
        dtype = at_least_float32(x).dtype  # first, as a device may not know float64
        mean, variance = (m.view(1, -1, 1, 1).to(dtype).to(x.device) for m in of_channels)
        return _scaled(x, mean, (variance + norm.eps).rsqrt(), norm.weight, norm.bias).to(output.dtype)


def _over_positions(layer: nn.Module) -> bool:
    if isinstance(layer, nn.InstanceNorm2d):
        return not layer.track_running_stats
    return isinstance(layer, nn.GroupNorm)


@float32_or_better
def _scaled(x: Tensor, mean: Tensor, scale: Tensor, gain: Tensor | None, bias: Tensor | None) -> Tensor:
    x = (x - mean).mul_(scale)
    if gain is None or bias is None:
        return x
    return x.mul_(gain.view(1, -1, 1, 1)).add_(bias.view(1, -1, 1, 1))


def _reflected(side: int, wanted: int, like: Tensor) -> Tensor:
    """Places of `wanted` pixels in a line of `side` that swings to and fro, the outermost ones not doubled."""
    places = torch.arange(wanted, device=like.device) % max(1, 2 * (side - 1))
    return torch.minimum(places, 2 * (side - 1) - places) if side > 1 else torch.zeros_like(places)
