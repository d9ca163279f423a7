"""Seconds an image that the Fréchet inception distance's features take, ours and torchmetrics', side by side.

`scripts/benchmark extractors` calls it. Both networks hold the same random weights, take the same images and keep the
features' mean and covariance. In each round every candidate takes one batch; the table holds medians over the rounds
and each one's ratio to torchmetrics. CPU time of this process, so that other work on the machine counts little.
torchmetrics needs torch-fidelity installed (`pip install --no-deps torch-fidelity`) and resizes with antialiasing,
ours as TensorFlow 1 did.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from lit_gen.metrics import Extractor, FastExtractor, FeatureMoments, InceptionFID
from measure import cpu_seconds, interleaved


def candidates(image_shape: tuple[int, ...]) -> dict[str, Callable[[Tensor], None]]:
    """What takes a batch of uint8 images, by name; torchmetrics first."""
    extractor = InceptionFID(image_shape, weights="random")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(extractor.network.state_dict(), path)
        theirs = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(path))
    return {
        "torchmetrics": lambda images: theirs.update(images, real=True),
        "InceptionFID": ours(extractor),
        "FastExtractor, float32": ours(FastExtractor(extractor)),
        "FastExtractor, bfloat16": ours(FastExtractor(extractor, "bfloat16")),
    }


def ours(extractor: Extractor) -> Callable[[Tensor], None]:
    moments = FeatureMoments(extractor.num_features)
    return lambda images: moments.update(extractor.extract(images / 127.5 - 1)[0])


def measure(image_shape: tuple[int, ...] = (3, 32, 32), batch: int = 32, rounds: int = 5) -> dict[str, list[float]]:
    """CPU seconds an image of every candidate, one number a round; a first batch of each isn't counted."""
    images = torch.randint(256, (batch, *image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sides = {name: partial(cpu_seconds, update, images) for name, update in candidates(image_shape).items()}
    seconds = interleaved(sides, rounds + 1)
    return {name: [each / batch for each in of_side[1:]] for name, of_side in seconds.items()}


def extractors(rounds: int) -> None:
    """Print the table."""
    seconds = measure(rounds=rounds)
    print("| features of an image | ms (median) | least to most | torchmetrics' time over it |")
    print("|---|---|---|---|")
    for name, each in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["torchmetrics"], each, strict=True))
        middle, least, most = (1000 * value for value in (statistics.median(each), min(each), max(each)))
        print(f"| {name} | {middle:.0f} | {least:.0f} to {most:.0f} | {ratio:.2f} |")
