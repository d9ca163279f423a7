"""Autoencoders with a discriminator: one procedure; the papers differ by bottleneck, losses and weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lit_gen.losses import L1, L2, AdversarialLoss, Hinge, Penalty, ReconstructionLoss
from lit_gen.modules.autoencoding import AutoencodingModule
from lit_gen.modules.base import Batch
from lit_gen.modules.judge import Judge
from lit_gen.modules.perceptual import PerceptualLoss
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
from lit_gen.precision import at_least_float32
from lit_gen.training.balance import gradient_ratio, last_layer_gradients, with_gradient
from lit_gen.training.draw import Draw
from lit_gen.training.player import AutoencoderPlayers, check_names
from lit_gen.training.randomness import mix

BottleneckFactory = Callable[[tuple[int, ...]], Bottleneck]
SpatialEncoderFactory = Callable[[tuple[int, ...], int], SpatialEncoder]
SpatialDecoderFactory = Callable[[tuple[int, ...], int], SpatialDecoder]
DiscriminatorFactory = Callable[[tuple[int, ...]], Discriminator]


@dataclass(frozen=True)
class AutoencoderDraw(Draw):
    """All that an update of an autoencoder or its discriminator depends on.

    Args:
        real: Images x ``(N, *image_shape)``.
        noise: ε of the latents ``(N, *latent shape)``, if the bottleneck takes some.
        epsilon: The penalty's uniform numbers ``(N, *epsilon_shape)``.
        reconstruction: x̂ ``(N, *image_shape)`` for the discriminator's update, without its graph.
    """

    real: Tensor
    noise: Tensor | None = None
    epsilon: Tensor | None = None
    reconstruction: Tensor | None = None


class Autoencoder(AutoencodingModule):
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
        if perceptual is not None:
            perceptual.check(self.image_shape, self.discriminator)
        self.define(defined, averaged=["encoder", "decoder"], init_from=init_from)

    def setup(self, stage: str) -> None:
        """Refuse a precision whose scaled gradients have no norms to compare."""
        super().setup(stage)
        if self.discriminator is not None and self.trainer.scaler is not None:
            raise ValueError(
                "precision=16-mixed: the discriminator's weight compares unscaled gradients; bf16-mixed can"
            )

    def draw(self, batch: Batch) -> AutoencoderDraw:
        """The batch, and all random numbers of both updates."""
        real, n = batch[0].to(self.dtype), len(batch[0])
        shape = self.bottleneck.noise_shape(*self.latent_shape[1:])
        noise = None if shape is None else self.random.normal(n, *shape).to(real)
        epsilon = (
            None if self.penalty is None else self.random.uniform(n, *self.penalty.epsilon_shape(self.image_shape))
        )
        return AutoencoderDraw(real, noise, epsilon)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """The autoencoder's step, its codebook's if it has one, and the discriminator's on that step's images."""
        draw, made = self.draw(batch), []

        def autoencoder(draw: AutoencoderDraw) -> tuple[Tensor, dict[str, Tensor]]:
            loss, values, encoded_and_images = self.autoencoder_loss(draw)
            made.append(encoded_and_images)
            return loss, values

        if not self.update("autoencoder", autoencoder, draw):
            return  # its images may be what is wrong
        encoded, images = (torch.cat(parts) for parts in zip(*made, strict=True))
        if self.bottleneck.learns:
            generator = torch.Generator().manual_seed(mix(self.seed or 0, "codebook", self.step))
            self.bottleneck.learn(self.everyones(encoded), generator)
        if self.discriminator is not None:
            self.update("discriminator", self.discriminator_loss, replace(draw, reconstruction=images))

    def everyones(self, x: Tensor) -> Tensor:
        """The rows of all processes in the order of the batch, the same everywhere. A collective."""
        if self.random.world_size == 1:
            return x
        gathered: Any = self.all_gather(x)  # (process, position on it, *)
        return gathered.transpose(0, 1).flatten(0, 1)

    # ---- the losses

    def autoencoder_loss(self, draw: AutoencoderDraw) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor]]:
        """L, its terms, and what of the pass is used again: the encoder's maps and x̂.

        L_rec and L_G are differentiated once, in x̂; from there the gradients of the last layer, for λ, and of the rest
        follow.
        """
        encoded = self.encoder(draw.real)
        code = self.bottleneck(encoded, draw.noise)
        features = self.decoder.features(code.latents.to(encoded.dtype))
        images = at_least_float32(self.decoder.crop(self.decoder.last_layer(features)))
        seen, share = images.detach().requires_grad_(), self.adversarial_share
        distance, values = self.distance(seen, draw.real)
        (gradient,), value = torch.autograd.grad(distance, seen), distance
        if self.discriminator is not None and share > 0:
            judge = Judge(self.discriminator)
            deceit, _ = judge.generator_loss(self.loss, seen, draw.real, **self.recall("loss"))
            (of_deceit,) = torch.autograd.grad(deceit, seen)
            ours, theirs = last_layer_gradients(self.decoder, features, gradient, of_deceit)
            gain = gradient_ratio(*self.batch_mean(torch.stack([ours, theirs])))
            gradient, value = gradient + share * gain * of_deceit, distance + share * gain * deceit
            values |= {"adversarial": deceit, "adversarial_gain": share * gain}
        loss = with_gradient(images, value, gradient) + code.loss
        values = {"autoencoder_loss": loss, **values, **code.values}
        return loss, values, (encoded.detach(), images.detach())

    def distance(self, images: Tensor, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_rec + L_perceptual, and both."""
        distance = self.reconstruction(images, real)
        values = {"reconstruction": distance}
        if self.perceptual is not None:
            values["perceptual"] = self.perceptual(images, real, self.discriminator)
            distance = distance + values["perceptual"]
        return distance, values

    @property
    def adversarial_share(self) -> float:
        """w r, by the images seen."""
        past = self.images_seen - self.adversarial_start
        if past < 0 or self.adversarial_weight == 0:
            return 0.0
        return self.adversarial_weight * min(1.0, past / self.adversarial_ramp if self.adversarial_ramp else 1.0)

    def discriminator_loss(self, draw: AutoencoderDraw) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D(D(x), D(x̂)) plus the penalty."""
        assert self.discriminator is not None
        assert draw.reconstruction is not None
        judge, fake = Judge(self.discriminator), draw.reconstruction.to(draw.real.dtype)
        scores = judge.both(draw.real, fake)
        loss = self.loss.discriminator(scores.real, scores.fake, **self.recall("loss"))
        values = {"real_score": scores.real.mean(), "fake_score": scores.fake.mean()}
        if self.penalty is not None and self.updates["discriminator"] % self.penalty.interval == 0:
            assert draw.epsilon is not None
            values["penalty"] = self.penalty(judge, draw.real, fake, draw.epsilon, **self.recall("penalty"))
            loss = loss + self.penalty.interval * values["penalty"]
        return loss, {"discriminator_loss": loss, **values}

    def held_out_values(self, batch: Batch) -> dict[str, Tensor]:
        """L_rec of the latents in their middle, and what the bottleneck says; no discriminator."""
        real = batch[0].to(self.dtype)
        code = self.bottleneck(self.active("encoder")(real))
        images = self.active("decoder")(code.latents.to(real.dtype))
        values = {type(self.reconstruction).__name__.lower(): self.reconstruction(images, real), **code.values}
        return {**values, "bits_per_pixel": code.bits / math.prod(self.image_shape[1:])}


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
