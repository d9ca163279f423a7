"""What models that translate images between two domains share: pictures of any size through a generator."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lit_gen.losses import AdversarialLoss
from lit_gen.models.base import GenerativeModel
from lit_gen.networks import Discriminator, Translator, translate_any_size
from lit_gen.networks.tiles import Statistics, check_statistics, tile_side
from lit_gen.training.player import Adversaries
from lit_gen.training.view import View

Domain = Literal["a", "b"]
TranslatorFactory = Callable[[tuple[int, ...]], Translator]
DiscriminatorFactory = Callable[[tuple[int, ...]], Discriminator]

TRANSLATE_BATCH = 32  # images translated at once, fewer of larger ones than in training, which bounds the memory


class TranslationModel(GenerativeModel):
    """A model whose generator ``generator_ab`` translates images of a domain a to a domain b.

    Args:
        image_shape: ``(C, H, W)`` of domain a.
        ema_half_life: Half-life of the generators' weight averages in images; null for none.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        tile: Side in pixels of what a generator translates at once of larger images than in training, the overlap
            included; null for 1024, or more where the generator looks further around.
        tile_statistics: How norms over a whole picture are made good in tiles; "exact", or "reduced", which is several
            times as fast and another picture's: see ``lit_gen.networks.translate_any_size``.

    Attributes:
        translates_to: The domains that there is a generator for.
        target_shape: ``(C, H, W)`` of domain b: that of a, unless :meth:`give_target_shape` says another.

    Raises:
        ValueError: for statistics that there are not.
    """

    translates_to: ClassVar[tuple[Domain, ...]] = ("b",)

    def __init__(
        self,
        image_shape: tuple[int, ...],
        ema_half_life: float | None,
        ema_ramp_up: float | None,
        tile: int | None,
        tile_statistics: Statistics,
    ) -> None:
        super().__init__(image_shape, ema_half_life, ema_ramp_up)
        self.target_shape = self.image_shape
        check_statistics(tile_statistics)
        self.tile, self.tile_statistics = tile, tile_statistics

    def give_target_shape(self, target_shape: tuple[int, ...] | None) -> None:
        """Say what images of domain b are like; before the generator is made.

        Raises:
            ValueError: for another height or width than that of a.
        """
        if target_shape is None:
            return
        shape = self.image_shape
        if tuple(target_shape[1:]) != shape[1:] or len(target_shape) != len(shape):
            raise ValueError(f"target_shape={tuple(target_shape)}: height and width are those of image_shape={shape}")
        self.target_shape = tuple(target_shape)

    def check_weights(self, loss: AdversarialLoss, **weights: float) -> None:
        """Refuse what no update of this model can be made by.

        Raises:
            ValueError: for a weight below 0, or a loss that learns from updates.
        """
        for name, weight in weights.items():
            if not weight >= 0:
                raise ValueError(f"{name}={weight}: the weight of a loss can't be negative")
        if getattr(loss, "memory", None) is not None:
            raise ValueError(f"loss={type(loss).__name__}: {type(self).__name__} keeps no memory for it")

    def make_generator(self, generator: TranslatorFactory) -> Translator:
        """A generator from a to b.

        Raises:
            ValueError: for one that can't make the channels of b, or looks too far around for ``tile``.
        """
        if self.target_shape == self.image_shape:
            made = generator(self.image_shape)
        else:
            try:
                made = generator(self.image_shape, out_channels=self.target_shape[0])  # type: ignore[call-arg]
            except TypeError as error:
                raise ValueError(
                    f"generator: takes no out_channels, which translation from {self.image_shape} to "
                    f"{self.target_shape} needs ({error})"
                ) from error
        if made.out_channels != self.target_shape[0]:
            raise ValueError(f"generator: makes {made.out_channels} channels, domain b has {self.target_shape[0]}")
        tile_side(made, self.tile)
        return made

    @torch.no_grad()
    def translate(self, images: Tensor, to: Domain = "b") -> Tensor:
        """Images in the domain ``to``, from averaged networks in eval mode.

        Args:
            images: ``(N, *image_shape)`` in [-1, 1], or of any height and width where the generator takes them.
            to: The domain, "b", or "a" of a model that translates to both.

        Returns:
            Images of the same height and width in [-1, 1], ``(N, *target_shape)`` of those of ``image_shape``.

        Raises:
            ValueError: for images of another shape, or a domain that the model doesn't translate to.
        """
        if to not in self.translates_to:
            raise ValueError(f"to={to!r}: {' or '.join(map(repr, self.translates_to))}")
        if images.ndim != 1 + len(self.image_shape) or images.shape[1] != self.image_shape[0]:
            kind = type(self).__name__
            raise ValueError(f"images of shape {tuple(images.shape)}: this {kind} takes (N, *{self.image_shape})")
        images = self.as_input(images)
        if len(images) == 0:
            return images.new_empty(0, self.target_shape[0], *images.shape[2:])
        generator: Any = self.network("generator_ab" if to == "b" else "generator_ba")
        share = math.prod(self.image_shape) / math.prod(images.shape[1:])
        parts = images.split(max(1, int(TRANSLATE_BATCH * min(1.0, share))))
        with self.evaluating():
            return torch.cat([translate_any_size(generator, part, self.tile, self.tile_statistics) for part in parts])


class OneWayModel(TranslationModel):
    """A model that translates to b alone, with one generator and one discriminator.

    Attributes:
        view: What the discriminator sees.
    """

    options: ClassVar = (Adversaries,)

    loss: AdversarialLoss
    discriminator: Discriminator
    view: View

    def oppose(
        self,
        discriminator: DiscriminatorFactory,
        judged_shape: tuple[int, ...],
        trained_by: Adversaries,
        init_from: str | None,
        beside: tuple[str, ...] = (),
    ) -> None:
        """Make the discriminator and name both players; the generator exists by now.

        Args:
            discriminator: Makes it.
            judged_shape: ``(C, H, W)`` of what it judges.
            trained_by: How both are trained.
            init_from: Trained model whose weights the networks start from.
            beside: Networks that are trained with the generator.
        """
        self.discriminator = discriminator(judged_shape)
        self.view = View(augmentation=trained_by.augmentation, image_shape=judged_shape)
        self.remember_view(self.view)
        self.define(
            [
                trained_by.player("generator", "generator_ab", *beside),
                trained_by.player("discriminator", "discriminator"),
            ],
            averaged=["generator_ab"],
            init_from=init_from,
        )
