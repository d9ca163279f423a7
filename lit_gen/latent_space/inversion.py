"""Latents whose image is a given one."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_gen.latent_space.lbfgs import BatchedLBFGS
from lit_gen.models import AutoencodingModel, GenerativeModel, LatentVariableModel, VariationalModel
from lit_gen.models.sampling import SAMPLE_BATCH, Labels

Bank = Callable[[int, int | None], tuple[Tensor, Tensor]]

IMAGES_AT_ONCE = 64
PRUNED_EVERY = 25  # steps, after which the worse half of an image's starts is given up
CHECKED_EVERY = 5  # steps, after which what has arrived is taken out
STALLED_WITHIN, STALLED = 50, 1e-3  # a search that falls by a smaller share in so many steps is over


@dataclass(frozen=True)
class Inversion:
    """Latents, the images that they give, and how near these are.

    Args:
        latents: What ``decode`` takes, ``(N, latent_dim)``; ``(N, channels, h, w)`` of an autoencoder.
        images: Their images ``(N, *picture_shape)`` in [-1, 1].
        psnr: 10 log₁₀(4 / mean square error) of each image in dB, ``(N,)``; infinite for an equal one.
    """

    latents: Tensor
    images: Tensor
    psnr: Tensor


@dataclass(frozen=True)
class Search:
    """How latents are looked for.

    Args:
        starts: Points from which each image is searched at once, the nearest of the model's own samples; of a VAE
            the first is the encoder's. After every 25 steps the worse half of them is given up, until one is left.
        rounds: An image that isn't done is searched again from the nearest of further samples; the best is kept.
        candidates: Own samples of a round among which the starts are, of all classes that are asked for together.
        steps: Of a round, at most, each a pass forward and back; 0 keeps the best start.
        target_psnr: dB at which an image is done.
        prior_weight: w in the loss, mean((G(z) − x)²) + w mean(z²).
        seed: Of the own samples.

    Raises:
        ValueError: for numbers out of range.
    """

    starts: int = 4
    rounds: int = 2
    candidates: int = 2048
    steps: int = 600
    target_psnr: float = 45.0
    prior_weight: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.starts <= self.candidates:
            raise ValueError(f"starts={self.starts}: from 1 to candidates={self.candidates}")
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds}: at least 1")
        if self.steps < 0:
            raise ValueError(f"steps={self.steps}: a number of steps, at least 0")
        if not 0 < self.target_psnr < math.inf:
            raise ValueError(f"target_psnr={self.target_psnr}: a positive, finite number of dB")
        if not 0 <= self.prior_weight < math.inf:
            raise ValueError(f"prior_weight={self.prior_weight}: a finite number, at least 0")


def check_invertible(model: GenerativeModel) -> None:
    """Refuse a model that has no latents, or whose images have no gradient in them.

    Raises:
        ValueError: naming its class.
    """
    if not isinstance(model, (LatentVariableModel, AutoencodingModel)):
        raise ValueError(f"a {type(model).__name__} has no latents to find")
    if isinstance(model, LatentVariableModel) and not model.smooth:
        raise ValueError(
            f"a {type(model).__name__} draws codes, which have no gradient in its latents; the codes of an image are "
            "those of its autoencoder's encoder"
        )


def invert(
    model: GenerativeModel,
    images: Tensor,
    labels: Labels | None = None,
    search: Search = Search(),
    told: Callable[[int], object] | None = None,
) -> Inversion:
    """Find latents whose images under the model are the given ones, or as near as may be.

    The mean square error is minimised in z by L-BFGS, all images and starts in one batch: Adam, which is the custom
    (Abdal et al. 2019, arXiv:1904.03189), stays below 40 dB for most of a DCGAN's own samples (docs/latents.md). The
    latents of an autoencoder are its encoder's.

    Args:
        model: A GAN, a VAE or an autoencoder.
        images: ``(N, *picture_shape)`` in [-1, 1].
        labels: Of a conditional model, as its ``sample`` takes them.
        search: How.
        told: Is called with the number of images that are done, after every 64.

    Raises:
        ValueError: for a model without latents or of codes, images of another shape, or labels that don't suit.
    """
    check_invertible(model)
    if tuple(images.shape[1:]) != model.picture_shape:
        kind = type(model).__name__
        raise ValueError(f"images of shape {tuple(images.shape)}: this {kind} makes {model.picture_shape}")
    images = images.to(model.device, model.dtype)
    if isinstance(model, LatentVariableModel):
        classes = tuple(y.to(model.device) for y in _classes(model, labels, len(images)))
        latents = _found(model, images, classes, search, told)
        found = decoded(model, latents, *classes)
    else:
        assert isinstance(model, AutoencodingModel)
        if labels is not None:
            raise ValueError(f"labels given: this {type(model).__name__} is unconditional")
        latents = model.encode(images)
        found = model.decode(latents)
    error = (found - images).square().flatten(1).mean(1)
    return Inversion(latents, found, psnr(error))


def psnr(mean_square_error: Tensor) -> Tensor:
    """dB of images in [-1, 1]."""
    return 10 * torch.log10(4 / mean_square_error)


@torch.no_grad()
def decoded(model: LatentVariableModel, latents: Tensor, *labels: Tensor) -> Tensor:
    """Images ``(N, *picture_shape)`` of latents ``(N, latent_dim)`` in eval mode, a bounded number at once."""
    inputs = latents.to(model.device, model.dtype), *(y.to(model.device) for y in labels)
    parts = zip(*(x.split(SAMPLE_BATCH) for x in inputs), strict=True)
    with model.evaluating():
        return torch.cat([model.pictures(model.decode(*part)) for part in parts])


def _classes(model: LatentVariableModel, labels: Labels | None, n: int) -> tuple[Tensor, ...]:
    if model.conditional and labels is None:
        raise ValueError(f"labels=None: this {type(model).__name__} is conditional and needs the class of each image")
    return model.classes(n, labels, None)


@torch.no_grad()
def _found(
    model: LatentVariableModel,
    images: Tensor,
    labels: tuple[Tensor, ...],
    search: Search,
    told: Callable[[int], object] | None,
) -> Tensor:
    """The best latents ``(N, latent_dim)``."""
    classes = len(labels[0].unique()) if labels else 1
    bank: Bank = functools.cache(functools.partial(_own_samples, model, search, classes))
    found: list[Tensor] = []
    with model.evaluating():
        for x, *ys in zip(*(part.split(IMAGES_AT_ONCE) for part in (images, *labels)), strict=True):
            found.append(_in_rounds(model, x, tuple(ys), search, bank))
            if told is not None:
                told(sum(map(len, found)))
    return torch.cat(found) if found else images.new_empty(0, model.latent_dim)


def _own_samples(
    model: LatentVariableModel, search: Search, classes: int, turn: int, label: int | None
) -> tuple[Tensor, Tensor]:
    """Latents of the model's own samples of a class in a round, and their images, flat."""
    count = max(search.starts, search.candidates // classes)
    generator = torch.Generator().manual_seed(search.seed + turn)
    noise = torch.randn(count, model.latent_dim, generator=generator).to(model.device, model.dtype)
    latents = model.latents(noise)
    labels = () if label is None else (torch.full((count,), label),)
    return latents, decoded(model, latents, *labels).flatten(1)


def _in_rounds(
    model: LatentVariableModel, images: Tensor, labels: tuple[Tensor, ...], search: Search, bank: Bank
) -> Tensor:
    """The best latents of some images, ``(n, latent_dim)``."""
    best, value = images.new_zeros(len(images), model.latent_dim), images.new_full((len(images),), math.inf)
    for turn in range(search.rounds):
        undone = (psnr(_error(value, best, search)) < search.target_psnr).nonzero().flatten()
        if len(undone) == 0:
            break
        x, ys = images[undone], tuple(y[undone] for y in labels)
        starts = x.new_empty(len(x), search.starts, model.latent_dim)
        for label in ys[0].unique().tolist() if ys else [None]:
            chosen = ys[0] == label if ys else slice(None)
            latents, samples = bank(turn, label)
            nearest = torch.cdist(x[chosen].flatten(1), samples).topk(search.starts, largest=False).indices
            starts[chosen] = latents[nearest]
        if turn == 0 and isinstance(model, VariationalModel):
            starts[:, 0] = model.encode(model.from_pictures(x), *ys)
        z, reached = _searched(model, x, starts, ys, search)
        better = reached < value[undone]
        best[undone[better]], value[undone[better]] = z[better], reached[better]
    return best


def _error(value: Tensor, latents: Tensor, search: Search) -> Tensor:
    """The mean square error in values of the loss."""
    return value - search.prior_weight * latents.square().mean(1)


def _searched(
    model: LatentVariableModel, images: Tensor, starts: Tensor, labels: tuple[Tensor, ...], search: Search
) -> tuple[Tensor, Tensor]:
    """The best latents of some images from their starts ``(n, starts, latent_dim)``, and their losses ``(n,)``."""
    per_image = search.starts
    owner = torch.arange(len(images), device=images.device).repeat_interleave(per_image)

    def objective(z: Tensor, rows: Tensor) -> Tensor:
        mine = owner[rows]
        made = model.pictures(model.decode(z, *(y[mine] for y in labels)))
        error = (made - images[mine]).square().flatten(1).mean(1)
        return error + search.prior_weight * z.square().mean(1)

    descent = BatchedLBFGS(objective, starts.flatten(0, 1))
    best, best_value = starts[:, 0].clone(), images.new_full((len(images),), math.inf)
    before = descent.value
    for step in range(search.steps + 1):
        if step % CHECKED_EVERY == 0 or step == search.steps:
            mine = owner[descent.rows]
            rank = _rank(mine, descent.value)
            leading = (rank == 0) & (descent.value < best_value[mine])
            best[mine[leading]], best_value[mine[leading]] = descent.x[leading], descent.value[leading]
            undone = psnr(_error(best_value, best, search)) < search.target_psnr
            kept = (rank < max(1, per_image >> step // PRUNED_EVERY)) & undone[mine]
            if step and step % STALLED_WITHIN == 0:
                kept &= descent.value < (1 - STALLED) * before
            if step == search.steps or not kept.any():
                break
            descent.keep(kept)
            before = descent.value if step % STALLED_WITHIN == 0 else before[kept]
        descent.step()
    return best, best_value


def _rank(groups: Tensor, values: Tensor) -> Tensor:
    """The place of each value among those of its group, from 0 for the least."""
    order = values.argsort()
    order = order[groups[order].argsort(stable=True)]
    first = torch.searchsorted(groups[order].contiguous(), groups[order].contiguous())
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - first
    return rank
