"""The networks of a trained model as programs of their own, with what their inputs and outputs mean."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lit_gen.models.autoencoding import AutoencodingModel
from lit_gen.networks import Quantizer


class Part(nn.Module):
    """One network of a module: images in [-1, 1], as everywhere, latents from N(0, I).

    Labels outside of 0 to K − 1 give NaN: an exported program can't raise an error, and must not answer for a class
    that doesn't exist.

    Args:
        module: the trained model.
        name: of the part.

    Attributes:
        inputs: names of the inputs.
        outputs: names of the outputs.
    """

    takes: ClassVar[str] = "images"  # of a model of latents these are normalised latents
    outputs: ClassVar[list[str]]

    def __init__(self, module: Any, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name
        self.classes = module.num_classes if self._conditional() else 0
        self.inputs = [self.takes, *(["labels"] if self.classes else [])]

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The part's outputs for ``(N, *)`` of images or latents, and labels int64 ``(N,)`` of conditional models."""
        if not self.classes:
            return self.run(inputs[0])
        x, labels = inputs
        known = (labels >= 0) & (labels < self.classes)
        outputs = self.run(x, labels.clamp(0, self.classes - 1))
        return _nan_unless(known, outputs) if isinstance(outputs, Tensor) else tuple(
            _nan_unless(known, output) for output in outputs
        )  # fmt: skip

    @abstractmethod
    def run(self, x: Tensor, *labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs, of labels that exist."""

    def example(self) -> tuple[Tensor, ...]:
        """Inputs for two samples."""
        x = torch.zeros(2, *self.shape())
        return (x, torch.zeros(2, dtype=torch.int64)) if self.classes else (x,)

    def shape(self) -> tuple[int, ...]:
        """Of one sample's input."""
        return (self.module.latent_dim,) if self.takes == "z" else self.module.image_shape

    def describe(self) -> dict[str, Any]:
        """What a user of the file has to know, in plain values."""
        facts: dict[str, Any] = {
            "model": type(self.module).__name__,
            "part": self.name,
            "inputs": self.inputs,
            "outputs": list(self.outputs),
            "image_shape": list(self.module.picture_shape),
            "image_range": [-1, 1],
        }
        if (codec := self.module.codec) is not None and self.takes == "images":  # what the network was trained on
            facts |= {"latents": codec.encoded.as_dict()}
        if self.takes == "z":
            facts |= {"latent_dim": self.module.latent_dim, "latent_distribution": "N(0, I)"}
        if self.classes:
            names = list(self.module.class_names)
            facts |= {"num_classes": self.classes, "class_names": names, "other_labels": "NaN"}
        return facts

    def _conditional(self) -> bool:
        return bool(getattr(self.module, "conditional", False))


class Images(Part):
    """Latents to images: the generator, or the likelihood's mean image of the decoder's output."""

    takes = "z"
    outputs: ClassVar = ["images"]

    def __init__(self, module: Any, name: str) -> None:
        super().__init__(module, name)
        self.codec = None if module.codec is None else module.codec.model  # whose weights belong to the program

    def run(self, x: Tensor, *labels: Tensor) -> Tensor:
        """``(N, latent_dim)`` to ``(N, *picture_shape)``."""
        made = self.module.decode(x, *labels)
        if self.codec is None:
            return made
        return self.codec.network("decoder")(self.module.codec.latents(made)).clamp(-1, 1)


class Encoding(Part):
    """Images to the mean and log scale of q(z|x), by way of what the likelihood models of them."""

    outputs: ClassVar = ["mean", "log_scale"]

    def run(self, x: Tensor, *labels: Tensor) -> tuple[Tensor, ...]:
        """``(N, *image_shape)`` to ``(N, latent_dim)``, twice."""
        return tuple(self.module.network("encoder")(self.module.observe(x), *labels))


class TopEncoding(Encoding):
    """Images to the mean and log scale of q(z_T|·) of a hierarchy's top layer, the layers below at their means."""

    def run(self, x: Tensor, *labels: Tensor) -> tuple[Tensor, ...]:
        """``(N, *image_shape)`` to ``(N, latent_dim)``, twice."""
        return self.module.posterior(self.module.observe(x))


class Latents(Part):
    """Images to the latents of an autoencoder's bottleneck, outside of training: means, or vectors of codes."""

    outputs: ClassVar = ["latents"]

    def run(self, x: Tensor, *labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``(N, *image_shape)`` to ``(N, *latent_shape)``."""
        return self.module.bottleneck(self.module.network("encoder")(x)).latents

    def describe(self) -> dict[str, Any]:
        """The latents' shape too; they are on no particular scale."""
        return {**super().describe(), "latent_shape": list(self.module.latent_shape)}


class Codes(Latents):
    """Images to the latents and to the numbers of their codes."""

    outputs: ClassVar = ["latents", "indices"]

    def run(self, x: Tensor, *labels: Tensor) -> tuple[Tensor, ...]:
        """``(N, *image_shape)`` to ``(N, *latent_shape)``, and int64 ``(N, h, w)``."""
        maps = self.module.network("encoder")(x)
        return self.module.bottleneck(maps).latents, self.module.bottleneck.indices(maps)

    def describe(self) -> dict[str, Any]:
        """How many codes there are too."""
        return {**super().describe(), "codes": self.module.bottleneck.codes}


class Decoding(Latents):
    """Latents of an autoencoder to images."""

    takes = "latents"
    outputs: ClassVar = ["images"]

    def run(self, x: Tensor, *labels: Tensor) -> Tensor:
        """``(N, *latent_shape)`` to ``(N, *image_shape)``."""
        return self.module.network("decoder")(x).clamp(-1, 1)

    def shape(self) -> tuple[int, ...]:
        """The latents'."""
        return self.module.latent_shape


class Scores(Part):
    """Images to the discriminator's raw scores, one an image or of patches, higher for real ones."""

    outputs: ClassVar = ["scores"]

    def run(self, x: Tensor, *labels: Tensor) -> Tensor:
        """``(N, *image_shape)`` to ``(N,)``, or ``(N, ...)`` of patches."""
        discriminator = self.module.network(self.name)
        if getattr(self.module, "auxiliary", False):  # classifies images, and is told no labels
            return discriminator.classify(x)[0]
        return discriminator(x, *labels)


class Translation(Part):
    """Images of one domain as images of the other."""

    outputs: ClassVar = ["translated"]

    def run(self, x: Tensor, *labels: Tensor) -> Tensor:
        """``(N, *image_shape)`` to the same."""
        return self.module.network(self.name)(x)


KINDS: dict[str, type[Part]] = {
    "generator": Images,
    "encoder": Encoding,
    "decoder": Images,
    "generator_ab": Translation,
    "generator_ba": Translation,
    "discriminator": Scores,
    "discriminator_a": Scores,
    "discriminator_b": Scores,
}
PARTS = tuple(KINDS)


def parts_of(module: Any) -> dict[str, type[Part]]:
    """The parts that a module has."""
    if isinstance(getattr(module, "hierarchy", None), nn.Module):  # one network both ways
        return {"encoder": TopEncoding, "decoder": Images}
    found = {name: kind for name, kind in KINDS.items() if isinstance(getattr(module, name, None), nn.Module)}
    if isinstance(module, AutoencodingModel):
        found |= {"encoder": Codes if isinstance(module.bottleneck, Quantizer) else Latents, "decoder": Decoding}
    if getattr(module, "pack", 1) > 1:  # scores several images at once
        found.pop("discriminator", None)
    return found


def _nan_unless(known: Tensor, output: Tensor) -> Tensor:
    return torch.where(known.view(-1, *[1] * (output.ndim - 1)), output, torch.nan)
