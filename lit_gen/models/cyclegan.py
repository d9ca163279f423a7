"""Two generators that translate images between two domains."""

from typing import Any, ClassVar

from torch import Tensor

from lit_gen.losses import AdversarialLoss, LeastSquares
from lit_gen.models.translation import DiscriminatorFactory, Domain, TranslationModel, TranslatorFactory
from lit_gen.networks import PatchGAN, ResNetTranslator
from lit_gen.networks.tiles import Statistics
from lit_gen.training.image_pool import ImagePool
from lit_gen.training.player import Adversaries, check_names
from lit_gen.training.view import View


class CycleGAN(TranslationModel):
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
    translates_to = ("a", "b")

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
        super().__init__(image_shape, ema_half_life, ema_ramp_up, tile, tile_statistics)
        weights = {"cycle_weight": cycle_weight, "identity_factor": identity_factor}
        self.check_weights(loss, adversarial_weight=adversarial_weight, **weights)
        self.loss, self.adversarial_weight = loss, adversarial_weight
        self.cycle_weight, self.identity_factor = cycle_weight, identity_factor
        self.pools = {"a": ImagePool(pool_size), "b": ImagePool(pool_size)}
        self.generator_ab, self.generator_ba = self.make_generator(generator), self.make_generator(generator)
        self.discriminator_a, self.discriminator_b = discriminator(self.image_shape), discriminator(self.image_shape)
        check_names(type(self), players, Adversaries)
        trained_by = Adversaries(**players)
        self.views = {d: View(augmentation=trained_by.augmentation, image_shape=self.image_shape) for d in ("a", "b")}
        for domain, view in self.views.items():
            self.remember_view(view, f"augmentation_{domain}", ending=f"_{domain}")
        generators, discriminators = ("generator_ab", "generator_ba"), ("discriminator_a", "discriminator_b")
        self.define(
            [trained_by.player("generator", *generators), trained_by.player("discriminator", *discriminators)],
            averaged=list(generators),
            init_from=init_from,
        )

    def cycle(self, images: Tensor, through: Domain = "b") -> Tensor:
        """The images, as :meth:`translate` takes them, translated to the domain ``through`` and back again."""
        return self.translate(self.translate(images, to=through), to="a" if through == "b" else "b")
