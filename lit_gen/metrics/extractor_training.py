"""Training of the small networks that scores look through, on the classes of one's own images or without any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.kernels import guard_convolutions
from lit_gen.metrics.classifiers import DataSetClassifier, SmallCNN, SmallResNet
from lit_gen.metrics.views import Projection, contrast, view, views_found
from lit_gen.value_ranges import to_signed

FEWEST = 20  # images, of which a tenth is held out
AMONG = 100  # images among whose views that of one is sought
DRAWING = 32  # pixels of the longer side up to which images without colour take the recipe of drawings
LINES = 15  # told of a training
SIDE = 64  # pixels of the longer side from which the first convolution shrinks images
MOST_POSITIONS = 640_000 * 32 * 32  # of pixels after it in all images seen: a quarter of an hour on one core


@dataclass(frozen=True)
class Recipe:
    """AdamW under a one-cycle schedule on images shifted by up to ``shift`` of their size.

    ``epochs`` of them, or more where they show fewer images than ``images_seen``, or fewer where images are many and
    large. ``flip`` mirrors half of the images, ``bf16`` computes convolutions in bfloat16.
    """

    network: type[SmallCNN] | type[SmallResNet]
    batch: int
    lr: float
    weight_decay: float
    epochs: int
    images_seen: int
    shift: float
    flip: bool = False
    bf16: bool = False


DRAWINGS = Recipe(SmallCNN, batch=64, lr=3e-3, weight_decay=1e-2, epochs=4, images_seen=100_000, shift=1 / 14)
PHOTOGRAPHS = Recipe(
    SmallResNet,
    batch=128,
    lr=6e-3,
    weight_decay=5e-2,
    epochs=14,
    images_seen=100_000,
    shift=1 / 8,
    flip=True,
    bf16=True,
)


def recipe_for(image_shape: tuple[int, ...]) -> Recipe:
    """That of photographs for colour and for images larger than drawings, else that of drawings."""
    drawing = image_shape[0] != 3 and max(image_shape[1:]) <= DRAWING
    return DRAWINGS if drawing else PHOTOGRAPHS


def train_extractor(
    images: Tensor,
    labels: Tensor | None,
    name: str,
    *,
    class_names: tuple[str, ...] = (),
    num_classes: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    say: Callable[[str], Any] = lambda line: None,
) -> tuple[DataSetClassifier, str]:
    """A network that has learned the classes of images, or to know an image's other views where there are no labels.

    The same images, seed and number of threads give the same weights. The global random state is left alone.

    Args:
        images: ``(N, C, H, W)`` of the training split, uint8 or floats in [-1, 1].
        labels: their classes ``(N,)`` from 0; None without labels.
        name: what metrics will carry.
        class_names: of the classes.
        num_classes: K; by default as many as names, or as the largest label says.
        epochs: times that each image is seen; by default the recipe's.
        seed: of weights, order and shifts.
        threads: of the processor; the order of sums, and so the weights, depends on it.
        device: where it trains.
        say: told of the progress, in at most `LINES` lines.

    Returns:
        The network in eval mode on the CPU, and the recipe in words.

    Raises:
        ValueError: too few or too small images, or fewer than two classes.
    """
    if len(images) < FEWEST:
        raise ValueError(f"{len(images)} images to train an extractor on: at least {FEWEST} are needed")
    shape = tuple(images.shape[1:])
    recipe = recipe_for(shape)
    guard_convolutions()
    with reproducible(seed, threads):
        stride = max(1, -(-max(shape[1:]) // SIDE))
        classes = None if labels is None else num_classes or len(class_names) or int(labels.max()) + 1
        network = recipe.network(shape, classes, name=name, stride=stride).to(device)
        network.class_names = tuple(class_names)
        training = _Training(network, images, recipe, epochs, seed, say, views=1 if labels is not None else 2)
        words = training.on_classes(labels) if labels is not None else training.on_views()
    return network.cpu().eval().requires_grad_(False), words


class _Training:
    """One run of a recipe."""

    def __init__(
        self,
        network: DataSetClassifier,
        images: Tensor,
        recipe: Recipe,
        epochs: int | None,
        seed: int,
        say: Callable[[str], Any],
        views: int,
    ) -> None:
        self.network, self.images, self.recipe, self.seed, self.say = network, images, recipe, seed, say
        self.batch, self.device = min(recipe.batch, len(images)), next(network.parameters()).device
        self.per_epoch = len(images) // self.batch
        self.steps = self._steps(epochs, views)
        self.generator = torch.Generator().manual_seed(seed)

    def _steps(self, epochs: int | None, views: int) -> int:
        """As many as asked for, or as the recipe says and time allows: ``views`` of each image pass the network."""
        if epochs is not None:
            return epochs * self.per_epoch
        recipe, (height, width) = self.recipe, self.images.shape[2:]
        epochs = max(recipe.epochs, -(-recipe.images_seen // len(self.images)))
        most = MOST_POSITIONS * self.network.stride**2 // (height * width * self.batch * views)
        return max(1, min(epochs * self.per_epoch, most))

    def on_classes(self, labels: Tensor) -> str:
        """Cross-entropy of the classes, on shifted and mirrored images."""
        shift = max(1, round(max(self.images.shape[2:]) * self.recipe.shift))

        def loss(rows: Tensor) -> Tensor:
            images = shifted(signed(self.images[rows]), shift, self.generator)
            if self.recipe.flip:
                images = mirrored(images, self.generator)
            logits = self.network.classify(images.to(self.device))[1]
            assert logits is not None
            return F.cross_entropy(logits, labels[rows].to(self.device))

        self._run(loss, self.network)
        return self._words(f"shifts of up to {shift} pixels, {'mirrored, ' * self.recipe.flip}")

    def on_views(self) -> str:
        """Of all views in a batch, which is of the same image?"""
        projection = Projection(self.network.num_features).to(self.device)
        random_view = partial(view, generator=self.generator, flip=self.recipe.flip)

        def loss(rows: Tensor) -> Tensor:
            images = signed(self.images[rows])
            views = torch.cat([random_view(images), random_view(images)])
            return contrast(projection(self.network(views.to(self.device))).float())

        self._run(loss, nn.ModuleList([self.network, projection]))
        return self._words(f"contrast of two views, {'mirrored, ' * self.recipe.flip}")

    def _run(self, loss_of: Callable[[Tensor], Tensor], trained: nn.Module) -> None:
        recipe = self.recipe
        parameters = [*trained.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=self.steps)
        if recipe.bf16:
            self.network.to(memory_format=torch.channels_last)
        trained.train()
        order = torch.empty(0, dtype=torch.int64)
        for step in range(self.steps):
            place = step % self.per_epoch
            if place == 0:
                order = torch.randperm(len(self.images), generator=self.generator)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.bf16):
                loss = loss_of(order[place * self.batch : (place + 1) * self.batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            epoch, epochs = step // self.per_epoch + 1, -(-self.steps // self.per_epoch)
            if step == self.steps - 1 or (place == self.per_epoch - 1 and epoch % -(-epochs // LINES) == 0):
                self.say(f"epoch {epoch}/{epochs}: loss {loss.item():.4f}")
        self.network.to(memory_format=torch.contiguous_format)

    def _words(self, seen: str) -> str:
        recipe = self.recipe
        return (
            f"AdamW lr {recipe.lr} weight decay {recipe.weight_decay}, one cycle, batch {self.batch}, "
            f"{self.steps / self.per_epoch:.3g} epochs, {seen}{'bfloat16, ' * recipe.bf16}seed {self.seed}"
        )


@torch.no_grad()
def accuracy(network: DataSetClassifier, images: Tensor, labels: Tensor | None, seed: int = 0) -> float:
    """Share of images ``(N, C, H, W)`` whose class is found, in float32; without labels, whose other view is.

    A view is sought among those of up to a hundred images.
    """
    network.eval()
    if labels is None:
        generator = torch.Generator().manual_seed(seed)
        flip = recipe_for(network.image_shape).flip
        found = [
            views_found(*(network(view(part, generator, flip)) for _ in range(2)))
            for part in map(signed, images.split(AMONG))
        ]
        return int(torch.cat(found).sum()) / len(images)
    right = 0
    for part, classes in zip(images.split(500), labels.split(500), strict=True):
        logits = network.classify(signed(part))[1]
        assert logits is not None
        right += int((logits.argmax(1) == classes).sum())
    return right / len(images)


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """The same numbers at every run: seed, threads and algorithms are fixed within, and as they were after it."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])


def signed(images: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` in [-1, 1], of uint8 or of floats that are so already."""
    return to_signed(images, "uint8") if images.dtype == torch.uint8 else images.float()


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``most`` pixels each way, background (-1) drawn in."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (most, most, most, most), value=-1.0)
    tops, lefts = torch.randint(2 * most + 1, (2, len(images), 1), generator=generator)
    rows, columns = tops + torch.arange(height), lefts + torch.arange(width)
    index = torch.arange(len(images))[:, None, None]
    return padded.movedim(1, -1)[index, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(chosen, images.flip(-1), images)
