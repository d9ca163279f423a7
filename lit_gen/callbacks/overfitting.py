"""Whether a GAN knows its training images by heart: the discriminator's scores, and nearest neighbours of samples."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lit_gen.callbacks.game_measures import auc, substitutes
from lit_gen.modules.gan import GAN

MIN_AUC = 0.75  # below it, D tells training images and samples apart too little to ask what it makes of new ones
AT_ONCE = 256  # images among which neighbours are looked for in one product


@torch.inference_mode(False)
@torch.no_grad()
def memorisation(data: Any, module: GAN, num_samples: int, num_neighbours: int) -> dict[str, float]:
    """``overfitting`` and, of images, ``copy_ratio``, as :class:`lit_gen.callbacks.GameMonitor` logs them.

    Args:
        data: A data module; nothing is measured without a validation split.
        module: Is left as it is.
        num_samples: Training images, held-out images and samples.
        num_neighbours: Training images among which the nearest is looked for.
    """
    train, held_out = data.dataset("train"), data.dataset("val")
    count = min(num_samples, len(train), len(held_out)) // module.pack * module.pack
    if count < 2 * module.pack:
        return {}
    known, new = (_spread(data, dataset, count, module) for dataset in (train, held_out))
    with substitutes(module) as twin:
        y = module.labels_of(new)
        samples = twin.generator(twin.noise(count).float(), *y)
        scores = [_scores(twin, x, *of) for x, of in ((known[0], module.labels_of(known)), (new[0], y), (samples, y))]
    measured = {"overfitting": overfitting(*scores)}
    if len(module.image_shape) == 3 and num_neighbours:
        measured["copy_ratio"] = copy_ratio(samples, new[0], _parts(data, train, num_neighbours, module))
    return measured


def overfitting(known: Tensor, new: Tensor, generated: Tensor) -> float:
    """(E D(known) − E D(new)) / (E D(known) − E D(generated)) of scores; 0 where D can't tell known and generated."""
    if auc(known, generated) < MIN_AUC:
        return 0.0
    return ((known.mean() - new.mean()) / (known.mean() - generated.mean())).item()


def copy_ratio(samples: Tensor, new: Tensor, known: Iterator[Tensor]) -> float:
    """Median distance of a sample to the nearest known image over that of a new image, all ``(N, *)``; nan for 0/0."""
    queries = torch.cat([samples, new.to(samples)]).flatten(1).cpu().double()
    nearest = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    for images in known:
        nearest = torch.minimum(nearest, torch.cdist(queries, images.flatten(1).cpu().double()).amin(1))
    return (nearest[: len(samples)].median() / nearest[len(samples) :].median()).item()


def _scores(twin: GAN, images: Tensor, *labels: Tensor) -> Tensor:
    """D's scores of images as it sees them in training."""
    packed = twin.view.packing.pack(images)
    seen = twin.view(packed, twin.view.numbers(packed, twin.random, twin.images_seen)).float()
    return twin.judge(*labels)(seen).flatten()


def _spread(data: Any, dataset: Any, count: int, module: GAN) -> tuple[Tensor, Tensor]:
    """So many images in [-1, 1] from all over a data set, and their labels, on the module's device."""
    images, labels = dataset.__getitems__([i * len(dataset) // count for i in range(count)])
    return data.to_float(images.to(module.device)).float().clone(), labels.to(module.device)


def _parts(data: Any, dataset: Any, count: int, module: GAN) -> Iterator[Tensor]:
    """The same, a few at once."""
    count = min(count, len(dataset))
    indices = [i * len(dataset) // count for i in range(count)]
    for start in range(0, count, AT_ONCE):
        images, _ = dataset.__getitems__(indices[start : start + AT_ONCE])
        yield data.to_float(images.to(module.device)).float()
