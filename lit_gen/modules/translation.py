"""What the training of models that translate between two domains shares: their batches, and what callbacks ask for."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lit_gen.models.judge import Judge
from lit_gen.models.translation import Domain, OneWayModel, TranslationModel
from lit_gen.modules.base import Batch, GenerativeModule
from lit_gen.networks import couples_batch
from lit_gen.precision import float32_or_better
from lit_gen.training.augmentation.ada import followed


class TranslationModule(TranslationModel, GenerativeModule, ABC):
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


class OneWayModule(OneWayModel, TranslationModule):
    """The training of a :class:`lit_gen.models.translation.OneWayModel`; a subclass gives the generator's loss.

    Attributes:
        discriminator_weight: Of L_D.
    """

    discriminator_weight: ClassVar[float] = 1.0

    def training_step(self, batch: dict[Domain, Batch], batch_idx: int) -> None:
        """The generator, then the discriminator on what that has made."""
        a, b = self.domains(batch)
        made: list[Tensor] = []

        def generator(a: Tensor, b: Tensor, *numbers: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            loss, values, fake = self.generator_loss(a, b, *numbers)
            made.append(fake)
            return loss, values

        if self.update("generator", generator, a, b, *self.draws(a, b), *self.view_numbers(a, b)):
            self.update("discriminator", self.discriminator_loss, a, b, torch.cat(made), *self.view_numbers(a, b))

    def judged(self, a: Tensor, b: Tensor) -> Tensor:
        """What the discriminator judges of images of a and true or made ones of b; here the latter alone."""
        return b

    def draws(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Random numbers of the generator's loss beside those of the views."""
        return []

    def view_numbers(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Random numbers of the discriminator's views of true and of made images; none without augmentation."""
        real = self.judged(a, b)
        drawn = [self.view.numbers(real, self.random, self.images_seen) for _ in range(2)]
        return [numbers for numbers in drawn if numbers is not None]

    def seen(self, a: Tensor, b: Tensor, fake: Tensor, numbers: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """What is true and what is made, as the discriminator sees it."""
        return self.view.both(self.judged(a, b), self.judged(a, fake), *(numbers or (None, None)))

    @abstractmethod
    def generator_loss(self, a: Tensor, b: Tensor, *numbers: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The generator's loss, its terms without their weights, and G(a), by :meth:`draws` and the views' numbers."""

    def discriminator_loss(
        self, a: Tensor, b: Tensor, fake: Tensor, *view_numbers: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D of what is true and what is made, times ``discriminator_weight``."""
        scores = Judge(self.discriminator).both(*self.seen(a, b, fake, view_numbers))
        loss = self.discriminator_weight * self.loss.discriminator(scores.real, scores.fake)
        told = followed(self.view.memory, self.loss, scores.real, scores.fake, self.batch_mean)
        return loss, {"discriminator_loss": loss, **told}

    def scores(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Of what is true, and of translations."""
        real, fake = self.judged(a, b), self.judged(a, self.translate(a))
        return {"real_scores": self.discriminator(real), "fake_scores": self.discriminator(fake)}


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
