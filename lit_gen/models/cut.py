"""A generator that translates between two domains without pairs or a way back, by what corresponding patches share."""

from typing import Any

from lit_gen.losses import AdversarialLoss, LeastSquares
from lit_gen.losses.patches import PatchContrast
from lit_gen.models.translation import DiscriminatorFactory, OneWayModel, TranslatorFactory
from lit_gen.networks import PatchGAN, ResNetTranslator
from lit_gen.networks.patch_projector import PatchProjector
from lit_gen.networks.tiles import Statistics
from lit_gen.training.player import Adversaries, check_names


class CUT(OneWayModel):
    """CUT (Park et al. 2020, arXiv:2007.15651): a → b, unpaired, with one generator and one discriminator.

    A patch of G(a) is to be recognised, among other patches of a, as that of its own place. Both are seen as features
    of G's first half, projected by a network of two layers for each of some stages.

    Args:
        image_shape: ``(C, H, W)`` of both domains; on the command line it comes from the data module.
        generator: Makes the generator from (image_shape); it has ``features``, as ``ResNetTranslator`` has.
        discriminator: Makes the discriminator of b from (image_shape); one score an image or a patch.
        loss: What the players minimise; the mean over all scores.
        adversarial_weight: w. The paper's least squares have no ½ in the generator's term, `LeastSquares` has: 2
            restores the paper's proportions.
        contrast_weight: λ_X, of the contrast of patches of G(a) and a.
        identity_weight: λ_Y, of the contrast of patches of G(b) and b; 0 leaves it out. The paper's lighter FastCUT has
            λ_X = 10 and λ_Y = 0.
        temperature: τ.
        num_patches: Patches of an image and a stage that are compared, or all where there are fewer.
        projection: Width of the projecting layers and of what they give.
        ema_half_life: Half-life of the generator's weight averages in images of one domain; null for none. Translations
            outside training come from the averages.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        tile: Side in pixels of what the generator translates at once of larger images, as in ``CycleGAN``.
        tile_statistics: Of norms over a picture in tiles, as in ``CycleGAN``.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.
        **players: How the generator, with the projecting layers, and the discriminator are trained: the arguments of
            ``Adversaries``.

    Raises:
        ValueError: for weights or sizes out of range, or a generator without features.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        generator: TranslatorFactory = ResNetTranslator,
        discriminator: DiscriminatorFactory = PatchGAN,
        loss: AdversarialLoss = LeastSquares(),
        adversarial_weight: float = 2.0,
        contrast_weight: float = 1.0,
        identity_weight: float = 1.0,
        temperature: float = 0.07,
        num_patches: int = 256,
        projection: int = 256,
        ema_half_life: float | None = None,
        ema_ramp_up: float | None = 0.05,
        tile: int | None = None,
        tile_statistics: Statistics = "exact",
        init_from: str | None = None,
        **players: Any,
    ) -> None:
        super().__init__(image_shape, ema_half_life, ema_ramp_up, tile, tile_statistics)
        weights = {"contrast_weight": contrast_weight, "identity_weight": identity_weight}
        self.check_weights(loss, adversarial_weight=adversarial_weight, **weights)
        self.loss, self.adversarial_weight = loss, adversarial_weight
        self.contrast_weight, self.identity_weight = contrast_weight, identity_weight
        self.contrast = PatchContrast(temperature, num_patches)
        made: Any = self.make_generator(generator)
        if not hasattr(made, "features"):
            raise ValueError(f"generator={type(made).__name__}: CUT compares its features; take ResNetTranslator")
        self.generator_ab = made
        self.projector = PatchProjector(made.feature_channels, projection)
        check_names(type(self), players, Adversaries)
        self.oppose(discriminator, self.image_shape, Adversaries(**players), init_from, beside=("projector",))
