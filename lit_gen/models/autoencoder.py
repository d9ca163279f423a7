"""Autoencoders with a discriminator: the networks, and the options that their papers differ by."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

from lit_gen.losses import L1, L2, AdversarialLoss, Hinge, Penalty, ReconstructionLoss
from lit_gen.losses.perceptual import PerceptualLoss
from lit_gen.models.autoencoding import AutoencodingModel
from lit_gen.networks import (
    Bottleneck,
    ConvDecoder,
    ConvEncoder,
    Discriminator,
    GaussianBottleneck,
    PatchGAN,
    SpatialDecoder,
    SpatialEncoder,
    VectorQuantizer,
)
from lit_gen.training.player import AutoencoderPlayers, check_names

BottleneckFactory = Callable[[tuple[int, ...]], Bottleneck]
SpatialEncoderFactory = Callable[[tuple[int, ...], int], SpatialEncoder]
SpatialDecoderFactory = Callable[[tuple[int, ...], int], SpatialDecoder]
DiscriminatorFactory = Callable[[tuple[int, ...]], Discriminator]


class Autoencoder(AutoencodingModel):
    """An autoencoder, with a discriminator that tells reconstructions from images, or without one.

    Each training batch is one step of encoder, bottleneck and decoder on

        L = L_rec(x̂, x) + L_perceptual(x̂, x) + L_bottleneck + w r λ L_G(D(x̂)),
        λ = ‖∇ (L_rec + L_perceptual)‖ / (‖∇ L_G‖ + 10⁻⁴) within [0, 10⁴],

    gradients being those in the weight of the decoder's last layer, of the whole batch over all parts and processes,
    and λ a constant (Esser et al. 2021, arXiv:2012.09841, equation 7); then one step of D on x and that step's x̂.
    D trains from the first step, so that it knows something when it joins: r is 0 before ``adversarial_start`` images
    and reaches 1 after ``adversarial_ramp`` further ones.

    Args:
        image_shape: ``(C, H, W)``; on the command line it comes from the data module.
        bottleneck: Makes what the latents are from (image_shape).
        encoder: Makes the encoder from (image_shape, channels that the bottleneck takes).
        decoder: Makes the decoder from (image_shape, channels of the latents).
        reconstruction: L_rec, a mean over all values.
        perceptual: L_perceptual; null for none.
        discriminator: Makes D from (image_shape); one score an image or a patch. Null for none.
        loss: What the autoencoder (as generator) and D minimise.
        penalty: Added to D's loss.
        adversarial_weight: w.
        adversarial_start: Images seen when D joins the autoencoder's loss.
        adversarial_ramp: Images in which its weight then grows linearly to w.
        ema_half_life: Half-life of the encoder's and the decoder's weight averages in images, from which everything
            outside of training comes; null for none.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.
        **players: How both are trained: the arguments of ``AutoencoderPlayers``.

    Raises:
        ValueError: for numbers out of range, points in the place of images, networks of different factors, or a
            discriminator under ``16-mixed``.
    """

    options: ClassVar = (AutoencoderPlayers,)

    def __init__(
        self,
        image_shape: tuple[int, ...],
        bottleneck: BottleneckFactory = GaussianBottleneck,
        encoder: SpatialEncoderFactory = ConvEncoder,
        decoder: SpatialDecoderFactory = ConvDecoder,
        reconstruction: ReconstructionLoss = L1(),
        perceptual: PerceptualLoss | None = None,
        discriminator: DiscriminatorFactory | None = PatchGAN,
        loss: AdversarialLoss = Hinge(),
        penalty: Penalty | None = None,
        adversarial_weight: float = 0.5,
        adversarial_start: int = 0,
        adversarial_ramp: int = 0,
        ema_half_life: float | None = None,
        ema_ramp_up: float | None = 0.05,
        init_from: str | None = None,
        **players: Any,
    ) -> None:
        super().__init__(image_shape, bottleneck, encoder, decoder, ema_half_life, ema_ramp_up)
        if not 0 <= adversarial_weight < math.inf:
            raise ValueError(f"adversarial_weight={adversarial_weight}: a finite number, at least 0")
        for name, images in {"adversarial_start": adversarial_start, "adversarial_ramp": adversarial_ramp}.items():
            if images < 0:
                raise ValueError(f"{name}={images}: a number of images, at least 0")
        self.reconstruction, self.perceptual, self.loss, self.penalty = reconstruction, perceptual, loss, penalty
        self.adversarial_weight = adversarial_weight
        self.adversarial_start, self.adversarial_ramp = adversarial_start, adversarial_ramp
        check_names(type(self), players, AutoencoderPlayers)
        trained_by = AutoencoderPlayers(**players)
        defined = [trained_by.player("autoencoder", "encoder", "bottleneck", "decoder")]
        self.discriminator = None if discriminator is None else discriminator(self.image_shape)
        if self.discriminator is not None:
            defined.append(trained_by.player("discriminator", "discriminator"))
            for name, option in {"loss": loss, "penalty": penalty}.items():
                self.remember(name, option, "discriminator")
        if penalty is not None and self.discriminator is not None:
            penalty.check(self.discriminator)
        self.define(defined, averaged=["encoder", "decoder"], init_from=init_from)


class AutoencoderKL(Autoencoder):
    """KL autoencoder of latent diffusion (Rombach et al. 2022, arXiv:2112.10752, appendix G).

    Its authors add LPIPS to L1, and let the discriminator join after 50,001 steps, untrained; here it has trained.
    """


class VQGAN(Autoencoder):
    """VQGAN (Esser et al. 2021, arXiv:2012.09841): a codebook of vectors, L1, and a discriminator of patches."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        bottleneck: BottleneckFactory = VectorQuantizer,
        adversarial_weight: float = 0.8,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, bottleneck, adversarial_weight=adversarial_weight, **kwargs)


class VQVAE(Autoencoder):
    """VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937): a codebook of vectors and L2, without a discriminator."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        bottleneck: BottleneckFactory = VectorQuantizer,
        reconstruction: ReconstructionLoss = L2(),
        discriminator: DiscriminatorFactory | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, bottleneck, reconstruction=reconstruction, discriminator=discriminator, **kwargs)
