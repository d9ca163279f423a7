"""A generator that translates images of one domain to their counterparts in another, learned from pairs."""

from typing import Any

from lit_gen.losses import L1, AdversarialLoss, NonSaturating, ReconstructionLoss
from lit_gen.models.translation import DiscriminatorFactory, OneWayModel, TranslatorFactory
from lit_gen.networks import PatchGAN, UNetTranslator
from lit_gen.networks.tiles import Statistics
from lit_gen.training.player import Adversaries, check_names


def paper_generator(image_shape: tuple[int, ...], out_channels: int | None = None) -> UNetTranslator:
    """The U-Net of pix2pix: batch norm, and dropout of one half in the decoder's first three layers."""
    return UNetTranslator(image_shape, norm="batch", dropout=0.5, out_channels=out_channels)


def paper_discriminator(image_shape: tuple[int, ...]) -> PatchGAN:
    """The PatchGAN of pix2pix, with batch norm."""
    return PatchGAN(image_shape, norm="batch")


class Pix2Pix(OneWayModel):
    """pix2pix (Isola et al. 2017, arXiv:1611.07004): a → b from pairs, D told apart by pairs and patches.

    D sees a and b, or a and G(a), joined along their channels. With the paper's default networks, batch norm and
    dropout (its only noise) are those of training while training alone: ``translate`` is a function of the image. The
    paper's own samples keep dropout and the statistics of their batch; at its batch of one image batch norm is instance
    norm, which ``generator.norm: instance`` gives at any batch size.

    Args:
        image_shape: ``(C, H, W)`` of domain a; on the command line it comes from the data module.
        target_shape: ``(C, H, W)`` of domain b, of other channels for instance; it comes from the data module too. Null
            for that of a.
        generator: Makes the generator from (image_shape), and out_channels where b has others.
        discriminator: Makes D from ``(C of a + C of b, H, W)``; one score an image or a patch.
        loss: What the players minimise; D's is halved, as in the paper.
        reconstruction: Of G(a) against b, a mean over all values.
        adversarial_weight: w.
        reconstruction_weight: λ.
        ema_half_life: Half-life of the generator's weight averages in images; null for none. Translations outside
            training come from the averages.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        tile: Side in pixels of what the generator translates at once of larger images, as in ``CycleGAN``.
        tile_statistics: Of norms over a picture in tiles, as in ``CycleGAN``.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.
        **players: How generator and discriminator are trained: the arguments of ``Adversaries``.

    Raises:
        ValueError: for weights or sizes out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        target_shape: tuple[int, ...] | None = None,
        generator: TranslatorFactory = paper_generator,
        discriminator: DiscriminatorFactory = paper_discriminator,
        loss: AdversarialLoss = NonSaturating(),
        reconstruction: ReconstructionLoss = L1(),
        adversarial_weight: float = 1.0,
        reconstruction_weight: float = 100.0,
        ema_half_life: float | None = None,
        ema_ramp_up: float | None = 0.05,
        tile: int | None = None,
        tile_statistics: Statistics = "exact",
        init_from: str | None = None,
        **players: Any,
    ) -> None:
        super().__init__(image_shape, ema_half_life, ema_ramp_up, tile, tile_statistics)
        self.give_target_shape(target_shape)
        self.check_weights(loss, adversarial_weight=adversarial_weight, reconstruction_weight=reconstruction_weight)
        self.loss, self.reconstruction = loss, reconstruction
        self.adversarial_weight, self.reconstruction_weight = adversarial_weight, reconstruction_weight
        self.generator_ab = self.make_generator(generator)
        pair_shape = (self.image_shape[0] + self.target_shape[0], *self.image_shape[1:])
        check_names(type(self), players, Adversaries)
        self.oppose(discriminator, pair_shape, Adversaries(**players), init_from)
