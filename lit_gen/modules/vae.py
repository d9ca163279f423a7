"""Variational autoencoders."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lit_gen import losses
from lit_gen.distributions import ExPostMixture, Likelihood, Prior, StandardNormal, auto_likelihood, reparametrise
from lit_gen.losses import ELBO, LayerTerms, Terms, VariationalObjective
from lit_gen.modules.variational import VariationalModule
from lit_gen.networks import Decoder, Encoder, auto_decoder, auto_encoder
from lit_gen.optimizers import VAEAdam

EncoderFactory = Callable[[tuple[int, ...], int], Encoder]
DecoderFactory = Callable[[tuple[int, ...], int], Decoder]
LikelihoodFactory = Callable[[tuple[int, ...]], Likelihood]
PriorFactory = Callable[[int, tuple[int, ...]], Prior]


class VAE(VariationalModule):
    """Variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114), conditional if it is told to be.

    Minimises a bound on −log p(x), or −log p(x|y), in nats, summed over dimensions and averaged over images.
    Validation always logs the bound itself, whatever the training's weights.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z.
        encoder: Makes the inference network q(z|x) from (image_shape, latent_dim).
        decoder: Makes the generative network from (shape of the likelihood's parameters, latent_dim).
        likelihood: Makes p(x|z) from (image_shape); by default Bernoulli for images, Gaussian for points.
        prior: Makes p(z) from (latent_dim, image_shape).
        objective: What both networks minimise.
        encoder_steps: Steps of the encoder for each of the decoder, which then alternate; 0 for joint steps.
        temperature: Factor on the prior's standard deviation for samples.
        optimizer: Any class of torch.optim or lit_gen.optimizers.
        scheduler: Learning-rate schedule counted in updates.
        clip_norm: Largest gradient norm.
        accumulate: Parts in which a batch is taken, to save memory.
        ema_half_life: Half-life of the networks' weight averages in images; null for none. Samples and
            validation use the averages.
        ema_ramp_up: Largest half-life as a share of the images seen so far; null for none.
        num_classes: Classes of the data; on the command line it comes from the data module.
        conditional: Whether encoder and decoder take the labels too, as a third argument of their factories,
            ``num_classes``, and of their ``forward``.
        init_from: Trained model whose weights the networks start from, as ``lit_gen.from_pretrained`` takes it.

    Raises:
        ValueError: for a negative number of steps, a temperature that is not positive, or labels that don't exist.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 32,
        encoder: EncoderFactory = auto_encoder,
        decoder: DecoderFactory = auto_decoder,
        likelihood: LikelihoodFactory = auto_likelihood,
        prior: PriorFactory = StandardNormal,
        objective: VariationalObjective = ELBO(),
        encoder_steps: int = 0,
        temperature: float = 1.0,
        optimizer: OptimizerCallable = VAEAdam,
        scheduler: LRSchedulerCallable | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        ema_half_life: float | None = None,
        ema_ramp_up: float | None = None,
        num_classes: int = 0,
        conditional: bool = False,
        init_from: str | None = None,
    ) -> None:
        averaging = (ema_half_life, ema_ramp_up)
        super().__init__(
            image_shape, latent_dim, num_classes, conditional, objective, encoder_steps, temperature, *averaging
        )
        self.likelihood = likelihood(self.image_shape)
        self.encoder = encoder(self.image_shape, latent_dim, **self.condition)
        self.decoder = decoder(self.likelihood.parameter_shape, latent_dim, **self.condition)
        self.prior = prior(latent_dim, self.image_shape)
        if conditional and self.prior.needs_encoder:
            raise ValueError(f"prior={type(self.prior).__name__}: its encoder has to be one without labels")
        generative = ("decoder", "likelihood", "prior")
        self.define_networks(("encoder",), generative, optimizer, scheduler, clip_norm, accumulate, init_from)

    def terms(self, x: Tensor, noise: Tensor, *labels: Tensor, detach_posterior: bool = False) -> Terms:
        """log p(x|z), log p(z) and log q(z|x) at z = μ(x) + σ(x) ε for the K ε of each image."""
        encoder, decoder, prior = self.active("encoder"), self.active("decoder"), self.active("prior")
        mean, log_scale = encoder(x, *labels)
        z = reparametrise(mean, log_scale, noise.transpose(0, 1))
        if self.training and isinstance(prior, ExPostMixture):
            prior.observe(self.gathered(z[0].detach()))
        samples = z.shape[:2]
        params = decoder(z.flatten(0, 1), *(y.repeat(samples[0]) for y in labels)).unflatten(0, samples)
        layer = LayerTerms(z, (mean, log_scale), prior.density(encoder), detach_posterior)
        return Terms(self.active("likelihood").log_prob(x, params), [layer])

    @torch.no_grad()
    def encode(self, images: Tensor, *labels: Tensor) -> Tensor:
        """Embed images as the mean of q(z|x), ``(N, latent_dim)``: never a sample, from averaged weights if any.

        Where the likelihood binarises or dequantises at random, each random number is taken in its middle, 1/2.

        Args:
            images: ``(N, *image_shape)`` in [-1, 1].
            *labels: ``(N,)`` if conditional.
        """
        with self.evaluating():
            x = self.likelihood.observe(images.to(self.dtype), torch.full_like(images, 0.5))
            return self.active("encoder")(x, *labels)[0]

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean image of p(x|z), or of p(x|z, y)."""
        condition = () if labels is None else (labels,)
        return self.likelihood.mean(self.network("decoder")(z, *condition))

    def from_noise(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean image at a sample of the prior."""
        prior = self.active("prior")
        return self.decode(prior.transform(noise, self.temperature, self.active("encoder")), labels)


class IWAE(VAE):
    """Importance weighted autoencoder (Burda et al. 2016, arXiv:1509.00519): a VAE on the bound of K samples."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 32,
        objective: VariationalObjective = losses.IWAE(),
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, latent_dim, objective=objective, **kwargs)
