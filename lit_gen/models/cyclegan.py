"""Two generators that translate images between two domains."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lit_gen.losses import AdversarialLoss, LeastSquares
from lit_gen.models.base import GenerativeModel
from lit_gen.networks import Discriminator, PatchGAN, ResNetTranslator, Translator, translate_any_size
from lit_gen.networks.tiles import Statistics, check_statistics, tile_side
from lit_gen.training.image_pool import ImagePool
from lit_gen.training.player import Adversaries, check_names
from lit_gen.training.view import View

Domain = Literal["a", "b"]
TranslatorFactory = Callable[[tuple[int, ...]], Translator]
DiscriminatorFactory = Callable[[tuple[int, ...]], Discriminator]

TRANSLATE_BATCH = 32  # images translated at once, fewer of larger ones than in training, which bounds the memory


class CycleGAN(GenerativeModel):
    """CycleGAN (Zhu et al. 2017, arXiv:1703.10593): two generators that undo each other.

    G: a → b is ``generator_ab`` and F: b → a ``generator_ba``.

    Args:
        image_shape: ``(C, H, W)`` of both domains; on the command line it comes from the data module.
        generator: Makes each generator from (image_shape).
        discriminator: Makes each discriminator from (image_shape); one score an image or a patch.
        loss: What the players minimise; the mean over all scores.
        adversarial_weight: w. The paper's least squares have no ½ in the generator's term, `LeastSquares` has: 2
            restores the paper's proportions. The discriminators' loss has the ½ in both.
        cycle_weight: λ.
        identity_factor: κ, by which the identity terms' weight is a multiple of λ; 0 leaves them out.
        pool_size: Translations kept of each domain; 0 for none.
        ema_half_life: Half-life of the generators' weight averages in images of one domain; null for none.
            Translations outside training come from the averages.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        tile: Side in pixels of what a generator translates at once of larger images than in training, the overlap
            included; null for 1024, or more where the generator looks further around.
        tile_statistics: How norms over a whole picture are made good in tiles; "exact", or "reduced", which is several
            times as fast and another picture's: see ``lit_gen.networks.translate_any_size``.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.
        **players: How both generators, and both discriminators, are trained: the arguments of ``Adversaries``.

    Raises:
        ValueError: for weights or sizes out of range.
    """

    options: ClassVar = (Adversaries,)

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: TranslatorFactory = ResNetTranslator,
        discriminator: DiscriminatorFactory = PatchGAN,
        loss: AdversarialLoss = LeastSquares(),
        adversarial_weight: float = 2.0,
        cycle_weight: float = 10.0,
        identity_factor: float = 0.5,
        pool_size: int = 50,
        ema_half_life: float | None = None,
        ema_ramp_up: float | None = 0.05,
        tile: int | None = None,
        tile_statistics: Statistics = "exact",
        init_from: str | None = None,
        **players: Any,
    ) -> None:
        super().__init__(image_shape, ema_half_life, ema_ramp_up)
        weights = {
            "adversarial_weight": adversarial_weight,
            "cycle_weight": cycle_weight,
            "identity_factor": identity_factor,
        }
        for name, weight in weights.items():
            if not weight >= 0:
                raise ValueError(f"{name}={weight}: the weight of a loss can't be negative")
        if getattr(loss, "memory", None) is not None:
            raise ValueError(f"loss={type(loss).__name__}: CycleGAN's two discriminators have no memory for it")
        self.loss, self.adversarial_weight = loss, adversarial_weight
        self.cycle_weight, self.identity_factor = cycle_weight, identity_factor
        self.pools = {"a": ImagePool(pool_size), "b": ImagePool(pool_size)}
        self.generator_ab, self.generator_ba = generator(self.image_shape), generator(self.image_shape)
        self.discriminator_a, self.discriminator_b = discriminator(self.image_shape), discriminator(self.image_shape)
        check_names(type(self), players, Adversaries)
        trained_by = Adversaries(**players)
        self.views = {d: View(augmentation=trained_by.augmentation, image_shape=self.image_shape) for d in ("a", "b")}
        for domain, view in self.views.items():
            self.remember(name := f"augmentation_{domain}", view.augmentation, "discriminator", ending=f"_{domain}")
            view.memory = self.recall(name).get("memory")
        check_statistics(tile_statistics)
        tile_side(self.generator_ab, tile)  # refuses too small a tile
        self.tile, self.tile_statistics = tile, tile_statistics
        generators, discriminators = ("generator_ab", "generator_ba"), ("discriminator_a", "discriminator_b")
        self.define(
            [trained_by.player("generator", *generators), trained_by.player("discriminator", *discriminators)],
            averaged=list(generators),
            init_from=init_from,
        )

    @torch.no_grad()
    def translate(self, images: Tensor, to: Domain = "b") -> Tensor:
        """Images in the domain ``to``, from averaged networks in eval mode.

        Args:
            images: ``(N, *image_shape)`` in [-1, 1], or of any height and width where the generator takes them.
            to: The domain, "a" or "b".

        Returns:
            Images of the same shape in [-1, 1].

        Raises:
            ValueError: for images of another shape, or a domain that is neither "a" nor "b".
        """
        if to not in ("a", "b"):
            raise ValueError(f"to={to!r}: 'a' or 'b'")
        if images.ndim != 1 + len(self.image_shape) or images.shape[1] != self.image_shape[0]:
            raise ValueError(f"images of shape {tuple(images.shape)}: this CycleGAN takes (N, *{self.image_shape})")
        images = self.as_input(images)
        if len(images) == 0:
            return images
        generator: Any = self.network("generator_ab" if to == "b" else "generator_ba")
        share = math.prod(self.image_shape) / math.prod(images.shape[1:])
        parts = images.split(max(1, int(TRANSLATE_BATCH * min(1.0, share))))
        with self.evaluating():
            return torch.cat([translate_any_size(generator, part, self.tile, self.tile_statistics) for part in parts])

    def cycle(self, images: Tensor, through: Domain = "b") -> Tensor:
        """The images, as :meth:`translate` takes them, translated to the domain ``through`` and back again."""
        return self.translate(self.translate(images, to=through), to="a" if through == "b" else "b")
