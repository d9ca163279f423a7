"""Narrow bases of the networks: what a module may ask of them, and what `--help` lists under each name.

Every network can be conditional: built with `num_classes` > 0, it takes a label with each sample.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A network of samples and, if `num_classes` > 0, of their labels `(N,)`, int64 from 0 to `num_classes` − 1.

    Labels are checked here, at every call, before `forward` sees them; their values only on a CPU, as reading
    them would make a GPU wait. A network without classes may leave `labels` out of its `forward`.

    Raises:
        ValueError: for a negative `num_classes`; when called, for missing or superfluous labels, or wrong ones.
    """

    def __init__(self, num_classes: int = 0):
        super().__init__()
        if num_classes < 0:
            raise ValueError(f"num_classes={num_classes}: {type(self).__name__} needs at least 0, which is no classes")
        self.num_classes = num_classes

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Check the labels, second or by name, then `forward`."""
        labels = named["labels"] if "labels" in named else inputs[1] if len(inputs) > 1 else None
        if self.num_classes or labels is not None:
            x = inputs[0] if inputs else next(value for name, value in named.items() if name != "labels")
            self._check_labels(labels, x.shape[0])
        else:
            named.pop("labels", None)
            inputs = inputs[:1] + inputs[2:]
        return super().__call__(*inputs, **named)

    def _check_labels(self, labels: Tensor | None, n: int) -> None:
        name = f"{type(self).__name__} with num_classes={self.num_classes}"
        if self.num_classes == 0:
            raise ValueError(f"labels given: {name} is unconditional and takes none")
        if labels is None:
            raise ValueError(f"labels=None: {name} needs one for each of its {n} samples")
        if labels.dtype != torch.int64 or labels.shape != (n,):
            raise ValueError(f"labels are {labels.dtype} {tuple(labels.shape)}: {name} needs torch.int64 ({n},)")
        if labels.device.type == "cpu" and not torch.compiler.is_compiling() and n:
            low, high = labels.min().item(), labels.max().item()
            if low < 0 or high >= self.num_classes:
                raise ValueError(f"labels from {low} to {high}: {name} needs 0 to {self.num_classes - 1}")


class LatentNetwork(Network):
    """What generators and encoders know: the shape of their images and the dimension of z.

    Raises:
        ValueError: for an `image_shape` that is neither `(C, H, W)` nor `(D,)`, no latent dimension, or wrong classes.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int, num_classes: int = 0):
        super().__init__(num_classes)
        self.image_shape = _checked_shape(self, "image_shape", image_shape)
        at_least_one(self, latent_dim=latent_dim)
        self.latent_dim = latent_dim


class Generator(LatentNetwork):
    """z `(N, latent_dim)` to images `(N, C, H, W)` in [-1, 1], or points `(N, D)`.

    Attributes:
        bounded: whether samples `(N, C, H, W)` pass a tanh; data without bounds, such as latents, need none.
    """

    bounded: bool = True

    @abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate one image or point a latent."""

    def in_range(self, x: Tensor) -> Tensor:
        """The last layer's values as samples: tanh(x) for images, x for points and data without bounds."""
        return torch.tanh(x) if self.bounded and len(self.image_shape) == 3 else x


class Discriminator(Network):
    """Images `(N, C, H, W)`, or points `(N, D)`, to raw scores `(N,)`; a `PatchGAN` gives `(N, h, w)`, one a patch.

    Attributes:
        classifies: whether `classify` tells the class, as an AC-GAN needs.

    Raises:
        ValueError: for an `image_shape` that is neither `(C, H, W)` nor `(D,)`, or wrong classes.
    """

    classifies: bool = False

    def __init__(self, image_shape: tuple[int, ...], num_classes: int = 0):
        super().__init__(num_classes)
        self.image_shape = _checked_shape(self, "image_shape", image_shape)

    @abstractmethod
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score each sample, high for data."""

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `(N,)` and the logits of the classes `(N, num_classes)`, by one pass.

        Raises:
            ValueError: for a discriminator that doesn't classify.
        """
        raise ValueError(
            f"{type(self).__name__} with num_classes={self.num_classes} tells no classes: it needs "
            "condition='auxiliary' and classes, or another discriminator"
        )


class Encoder(LatentNetwork):
    """Images `(N, C, H, W)`, or points `(N, D)`, to mean and log σ of q(z | x), each `(N, latent_dim)`.

    log σ is float32 or better and has passed `lit_gen.distributions.bound_log_scale`.
    """

    @abstractmethod
    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log σ."""


class Decoder(Network):
    """z `(N, latent_dim)` to the parameters of a likelihood, `(N, *output_shape)`: a linear output.

    Raises:
        ValueError: for an `output_shape` that is neither `(C, H, W)` nor `(D,)`, no latent dimension, or wrong classes.
    """

    def __init__(self, output_shape: tuple[int, ...], latent_dim: int, num_classes: int = 0):
        super().__init__(num_classes)
        self.output_shape = _checked_shape(self, "output_shape", output_shape)
        at_least_one(self, latent_dim=latent_dim)
        self.latent_dim = latent_dim

    @property
    def output_bias(self) -> Tensor | None:
        """The last layer's bias, a number for each parameter of the likelihood, if the network ends so."""
        return None

    @abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the parameters of p(x | z)."""


class Translator(Network):
    """Images `(N, C, H, W)` of one domain to images of the same height and width of another, both in [-1, 1].

    A translator that takes other heights and widths than its own says which, and `lit_gen.networks.translate_any_size`
    does the rest.

    Args:
        image_shape: `(C, H, W)` of what it takes.
        out_channels: channels of what it makes; None for as many.

    Attributes:
        any_size: whether it takes every height and width that is a multiple of `stride` and at least `least_side`.
        stride: what heights and widths must be multiples of.
        least_side: the smallest of them.
        reach: how many pixels away from an output an input may lie that it depends on, norms' statistics apart; None
            if that is unknown, which leaves whole pictures alone.

    Raises:
        ValueError: for an `image_shape` that is neither `(C, H, W)` nor `(D,)`, or no channels.
    """

    any_size: bool = False
    stride: int = 1
    least_side: int = 1
    reach: int | None = None

    def __init__(self, image_shape: tuple[int, ...], out_channels: int | None = None):
        super().__init__()
        self.image_shape = _checked_shape(self, "image_shape", image_shape)
        self.out_channels = self.image_shape[0] if out_channels is None else out_channels
        at_least_one(self, out_channels=self.out_channels)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Translate each image."""


class SpatialEncoder(Network):
    """Images `(N, C, H, W)` to maps `(N, channels, h, w)`, h = ⌈H / factor⌉ and w alike, as an autoencoder's has.

    Attributes:
        map_size: `(h, w)`.

    Raises:
        ValueError: for an `image_shape` that is not `(C, H, W)`, or no channels.
    """

    map_size: tuple[int, int]

    def __init__(self, image_shape: tuple[int, ...], channels: int):
        super().__init__()
        self.image_shape = _checked_shape(self, "image_shape", image_shape, images=True)
        at_least_one(self, channels=channels)
        self.channels = channels

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Encode each image."""


class SpatialDecoder(Network):
    """Maps `(N, channels, h, w)` to images `(N, C, H, W)` by a linear last layer: the way back of a `SpatialEncoder`.

    Attributes:
        map_size: `(h, w)`.
        last_layer: what makes pixels of the features; it has a `weight`.

    Raises:
        ValueError: for an `image_shape` that is not `(C, H, W)`, or no channels.
    """

    map_size: tuple[int, int]
    last_layer: nn.Module

    def __init__(self, image_shape: tuple[int, ...], channels: int):
        super().__init__()
        self.image_shape = _checked_shape(self, "image_shape", image_shape, images=True)
        at_least_one(self, channels=channels)
        self.channels = channels

    @abstractmethod
    def features(self, z: Tensor) -> Tensor:
        """What the last layer takes."""

    def crop(self, pixels: Tensor) -> Tensor:
        """The image's part of the last layer's output, whose sides are multiples of the factor."""
        return pixels[..., : self.image_shape[1], : self.image_shape[2]]

    def forward(self, z: Tensor) -> Tensor:
        """Decode each map; values may lie outside of [-1, 1]."""
        return self.crop(self.last_layer(self.features(z)))


class CodeNetwork(Network):
    """Codes' numbers `(N, h w)`, row by row, to the logits of each given all those before it and the label.

    Args:
        map_size: `(h, w)` of an image's codes.
        codes: how many there are to choose from.
        num_classes: number of classes, 0 for none.

    Raises:
        ValueError: for no codes, a map without positions, or wrong classes.
    """

    def __init__(self, map_size: tuple[int, int], codes: int, num_classes: int = 0):
        super().__init__(num_classes)
        at_least_one(self, codes=codes, height=map_size[0], width=map_size[1])
        self.map_size, self.codes = (map_size[0], map_size[1]), codes

    @property
    def length(self) -> int:
        """Codes of an image."""
        return self.map_size[0] * self.map_size[1]

    @abstractmethod
    def forward(self, indices: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits `(N, h w, codes)`, those of a position a function of `indices` before it and of the label."""

    @abstractmethod
    def drawn(self, n: int, choose: Callable[[Tensor, int], Tensor], labels: Tensor | None = None) -> Tensor:
        """Indices `(n, h w)`, int64, one position after the other.

        Args:
            n: images.
            choose: gives the codes int64 `(n,)` of the logits `(n, codes)` and the position.
            labels: `(n,)` if conditional.
        """


def _checked_shape(network: nn.Module, name: str, shape: tuple[int, ...], images: bool = False) -> tuple[int, ...]:
    accepted = "(C, H, W)" if images else "(C, H, W) or (D,)"
    if len(shape) not in ((3,) if images else (1, 3)) or min(shape) < 1:
        raise ValueError(f"{name}={tuple(shape)}: {type(network).__name__} needs {accepted}, all at least 1")
    return tuple(shape)


def at_least_one(network: nn.Module, **sizes: int) -> None:
    """Refuse sizes below 1.

    Raises:
        ValueError: naming the first of them and the network.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}: {type(network).__name__} needs at least 1")
