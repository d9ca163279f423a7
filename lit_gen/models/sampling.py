"""Models of images by latent variables, and drawing from them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lit_gen.models.base import GenerativeModel
from lit_gen.models.class_names import class_number, numbered

Batch = tuple[Tensor, Tensor]
Labels = Tensor | int | str | Sequence[int | str]
SAMPLE_BATCH = 512  # images made at once by sample(), which bounds its memory


class LatentVariableModel(GenerativeModel, ABC):
    """A model that makes images, or latents of images, from z ~ N(0, I), and from class labels if it is conditional.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``.
        latent_dim: Dimension of z.
        num_classes: Classes of the data, 0 if they have none.
        conditional: Whether to model p(x | y).
        ema_half_life: Half-life of the weight averages in images; null for none.
        ema_ramp_up: Its bound as a share of the images seen; null for none.
        bounded: Whether all values lie in [-1, 1], as those of images do.

    Raises:
        ValueError: for a latent without dimensions, or a conditional model of data without labels.
    """

    models: ClassVar[tuple[str, ...]] = ("images", "latents")
    smooth: ClassVar[bool] = True  # whether images have a gradient in z

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int,
        conditional: bool,
        ema_half_life: float | None,
        ema_ramp_up: float | None = None,
        bounded: bool = True,
    ) -> None:
        super().__init__(image_shape, ema_half_life, ema_ramp_up)
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim}: at least 1 is needed")
        if num_classes < 0:
            raise ValueError(f"num_classes={num_classes}: a number of classes, 0 for data without labels")
        if conditional and num_classes == 0:
            raise ValueError("conditional=True, num_classes=0: a conditional model needs data with labels")
        self.latent_dim, self.num_classes, self.conditional = latent_dim, num_classes, conditional
        # What a factory of networks takes beside the shapes: nothing if the model has no use for labels.
        self.condition = {"num_classes": num_classes} if conditional else {}
        self.bounded = bounded
        # What a factory whose networks make samples takes besides: nothing if these are images, or points.
        self.range = {} if bounded or len(self.image_shape) != 3 else {"bounded": False}
        self._class_names: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for each class of a conditional model, its number where none is known; empty for other models.

        They come from the data of the training, and stay with checkpoints and saved models.
        """
        return self._class_names or (numbered(self.num_classes) if self.conditional else ())

    @class_names.setter
    def class_names(self, names: Sequence[str]) -> None:
        expected = self.num_classes if self.conditional else 0
        if len(names) != expected or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"class_names={list(names)[:4]!r}, {len(names)} of them: a name for each of the {expected} classes is "
                "needed, all different"
            )
        self._class_names = tuple(names)

    @abstractmethod
    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(N, *image_shape)`` in [-1, 1] from latents ``(N, latent_dim)``, and labels ``(N,)`` if conditional.

        From the averaged networks if averages are kept.
        """

    @property
    def noise_dim(self) -> int:
        """Normal numbers that a sample is made from; ``latent_dim`` unless a subclass says otherwise."""
        return self.latent_dim

    def from_noise(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images from N(0, 1) of ``(N, noise_dim)``."""
        return self.decode(self.latents(noise), *(() if labels is None else (labels,)))

    def latents(self, noise: Tensor) -> Tensor:
        """What ``decode`` takes, a sample of the prior, from N(0, 1), both ``(N, latent_dim)``: that noise itself."""
        return noise

    @torch.no_grad()
    def sample(
        self, n: int, labels: Labels | None = None, generator: torch.Generator | None = None, decode: bool = True
    ) -> Tensor:
        """Draw ``n`` images ``(n, *picture_shape)`` in [-1, 1] from the averaged networks in eval mode.

        Latents, and then labels, are drawn on the CPU: the same ``generator`` state gives the same samples everywhere.

        Args:
            n: Images.
            labels: Of a conditional model: the classes int64 ``(n,)``, or as a list of numbers and `class_names`, or
                one for all; by default uniformly random.
            generator: Source of randomness on the CPU.
            decode: Whether the codec of a model of latents makes pictures of them; else they are as they are modelled.

        Raises:
            ValueError: if ``n`` is negative, or labels are given to a model without them, or they are none of its
                classes or not one for each image.
        """
        if n < 0:
            raise ValueError(f"n={n}: a number of samples can't be negative")
        noise = torch.randn(n, self.noise_dim, generator=generator)
        return self.generate(noise, *self.classes(n, labels, generator), decode=decode)

    @torch.no_grad()
    def generate(self, noise: Tensor, *labels: Tensor, decode: bool = True) -> Tensor:
        """Images ``(N, *picture_shape)`` of N(0, 1) ``(N, noise_dim)`` in eval mode, a bounded number at once."""
        if len(noise) == 0:
            shape = self.picture_shape if decode else self.image_shape
            return torch.empty(0, *shape, device=self.device, dtype=self.dtype)
        inputs = noise.to(self.device, self.dtype), *(y.to(self.device) for y in labels)
        parts = zip(*(x.split(SAMPLE_BATCH) for x in inputs), strict=True)
        with self.evaluating():
            made = (self.from_noise(*part) for part in parts)
            return torch.cat([self.pictures(x) if decode else x for x in made])

    def classes(self, n: int, labels: Labels | None, generator: torch.Generator | None) -> tuple[Tensor, ...]:
        """The labels ``(n,)`` of n samples in a tuple, as :meth:`sample` takes them; empty if unconditional."""
        if not self.conditional:
            if labels is not None:
                raise ValueError(f"labels={_brief(labels)}: this {type(self).__name__} is unconditional")
            return ()
        if labels is None:
            return (torch.randint(self.num_classes, (n,), generator=generator),)
        classes = torch.as_tensor(self._numbers(labels), device="cpu")
        if classes.ndim == 0:
            classes = classes.expand(n)
        in_range = not classes.is_floating_point() and bool(((classes >= 0) & (classes < self.num_classes)).all())
        if classes.shape != (n,) or not in_range:
            raise ValueError(
                f"labels={_brief(labels)}: a class from 0 to {self.num_classes - 1}, or one for each of the {n} samples"
            )
        return (classes.long(),)

    def _numbers(self, labels: Labels) -> Any:
        """The same with classes in the place of names."""
        words = [labels] if isinstance(labels, str) else labels
        if isinstance(words, (Tensor, int)) or not any(isinstance(label, str) for label in words):
            return labels
        try:
            found = [class_number(label, self.class_names) for label in words]
        except ValueError as error:
            raise ValueError(f"labels={_brief(labels)}: {error}") from None
        return found[0] if isinstance(labels, str) else found

    def labels_of(self, batch: Batch) -> tuple[Tensor, ...]:
        """The batch's labels ``(N,)`` for a conditional model, nothing for others: to be passed as ``*labels``."""
        return (batch[1],) if self.conditional else ()


def _brief(labels: Labels) -> str:
    if isinstance(labels, Tensor):
        return f"{labels}" if labels.numel() < 9 else f"tensor of {tuple(labels.shape)}"
    return f"{labels!r}" if isinstance(labels, (int, str)) or len(labels) < 9 else f"{len(labels)} labels"
