"""Models of images by latent variables, and drawing from them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lit_gen.models.base import GenerativeModel

Batch = tuple[Tensor, Tensor]
SAMPLE_BATCH = 512  # images made at once by sample(), which bounds its memory


class LatentVariableModel(GenerativeModel, ABC):
    """A model that makes images from latents z ~ N(0, I), and from class labels if it is conditional.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``.
        latent_dim: Dimension of z.
        num_classes: Classes of the data, 0 if they have none.
        conditional: Whether to model p(x | y).
        ema_half_life: Half-life of the weight averages in images; null for none.
        ema_ramp_up: Its bound as a share of the images seen; null for none.

    Raises:
        ValueError: for a latent without dimensions, or a conditional model of data without labels.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int,
        conditional: bool,
        ema_half_life: float | None,
        ema_ramp_up: float | None = None,
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
        """Images from N(0, 1) of ``(N, noise_dim)``: ``decode`` where the latents are that noise themselves."""
        return self.decode(noise, *(() if labels is None else (labels,)))

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` images ``(n, *image_shape)`` in [-1, 1] from the averaged networks in eval mode.

        Latents, and then labels, are drawn on the CPU: the same ``generator`` state gives the same samples everywhere.

        Args:
            n: Images.
            labels: Of a conditional model: the classes int64 ``(n,)``, or one for all; by default uniformly random.
            generator: Source of randomness on the CPU.

        Raises:
            ValueError: if ``n`` is negative, or labels are given to a model without them, or they are none of its
                classes or not one for each image.
        """
        if n < 0:
            raise ValueError(f"n={n}: a number of samples can't be negative")
        noise = torch.randn(n, self.noise_dim, generator=generator)
        return self.generate(noise, *self.classes(n, labels, generator))

    @torch.no_grad()
    def generate(self, noise: Tensor, *labels: Tensor) -> Tensor:
        """Images ``(N, *image_shape)`` of N(0, 1) ``(N, noise_dim)`` in eval mode, a bounded number at once."""
        if len(noise) == 0:
            return torch.empty(0, *self.image_shape, device=self.device, dtype=self.dtype)
        inputs = noise.to(self.device, self.dtype), *(y.to(self.device) for y in labels)
        parts = zip(*(x.split(SAMPLE_BATCH) for x in inputs), strict=True)
        with self.evaluating():
            return torch.cat([self.from_noise(*part) for part in parts])

    def classes(self, n: int, labels: Tensor | int | None, generator: torch.Generator | None) -> tuple[Tensor, ...]:
        """The labels ``(n,)`` of n samples in a tuple, as :meth:`sample` takes them; empty if unconditional."""
        if not self.conditional:
            if labels is not None:
                raise ValueError(f"labels={_brief(labels)}: this {type(self).__name__} is unconditional")
            return ()
        if labels is None:
            return (torch.randint(self.num_classes, (n,), generator=generator),)
        classes = torch.as_tensor(labels, device="cpu")
        if classes.ndim == 0:
            classes = classes.expand(n)
        in_range = not classes.is_floating_point() and bool(((classes >= 0) & (classes < self.num_classes)).all())
        if classes.shape != (n,) or not in_range:
            raise ValueError(
                f"labels={_brief(labels)}: a class from 0 to {self.num_classes - 1}, or one for each of the {n} samples"
            )
        return (classes.long(),)

    def labels_of(self, batch: Batch) -> tuple[Tensor, ...]:
        """The batch's labels ``(N,)`` for a conditional model, nothing for others: to be passed as ``*labels``."""
        return (batch[1],) if self.conditional else ()


def _brief(labels: Tensor | int) -> str:
    return f"{labels}" if not isinstance(labels, Tensor) or labels.numel() < 9 else f"tensor of {tuple(labels.shape)}"
