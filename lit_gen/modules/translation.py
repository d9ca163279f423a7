"""What the training of models that translate between two domains shares: their batches, and what callbacks ask for."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lit_gen.models.translation import Domain, TranslationModel
from lit_gen.modules.base import Batch, GenerativeModule
from lit_gen.networks import couples_batch
from lit_gen.precision import float32_or_better


class TranslationModule(TranslationModel, GenerativeModule):
    """The training of a :class:`lit_gen.models.translation.TranslationModel`; a subclass gives the losses.

    Each training batch ``{"a": (images, labels), "b": …}`` is one step of the generator and then one of the
    discriminator.

    Attributes:
        data_module: A data module that has such batches, which errors name.
    """

    data_module: ClassVar[str] = "UnpairedDataModule"

    @abstractmethod
    def scores(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """The discriminators' scores of images ``(N, C, H, W)`` of both domains and of their translations, by name."""

    def updates_in(self, steps: int) -> dict[str, int]:
        """One of each side a step."""
        return {"generator": steps, "discriminator": steps}

    def domains(self, batch: dict[Domain, Batch]) -> tuple[Tensor, Tensor]:
        """The images of both domains, in the precision of the weights."""
        a, b = (self.as_input(self.images_of(batch, domain)) for domain in ("a", "b"))
        return a, b

    def images_of(self, batch: Any, domain: Domain) -> Tensor:
        """The images of one domain.

        Raises:
            ValueError: if the batch doesn't come from two domains.
        """
        if not isinstance(batch, dict) or domain not in batch:
            kind, taken = type(self).__name__, self.data_module
            raise ValueError(f"data: {kind} needs images of two domains, {{'a': …, 'b': …}}; take {taken}")
        return batch[domain][0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing by itself: callbacks score the translations."""

    test_step = validation_step

    def predict_step(self, batch: dict[Domain, Batch] | Batch, batch_idx: int) -> Tensor:
        """Translations of the batch's one domain; of images ``(images, labels)`` without a domain, to b."""
        to: Domain = "a" if isinstance(batch, dict) and "b" in batch else "b"
        images = self.images_of(batch, "a" if to == "b" else "b") if isinstance(batch, dict) else batch[0]
        return self.translate(images, to)


def together(network: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """network(x), network(y) of two batches, in one pass unless it compares the samples of a batch."""
    if couples_batch(network):
        return network(x), network(y)
    of_both = network(torch.cat([x, y.to(x.dtype)]))
    return of_both[: len(x)], of_both[len(x) :]


@float32_or_better
def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of two batches of images."""
    return (x - y).abs().mean()
