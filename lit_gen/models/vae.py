"""Variational autoencoders."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lit_gen import losses
from lit_gen.distributions import ExPostMixture, Prior, StandardNormal, default_likelihood, reparametrise
from lit_gen.losses import LayerTerms, Terms, VariationalObjective
from lit_gen.models.variational import LikelihoodFactory, VariationalModel, made_likelihood
from lit_gen.networks import Decoder, Encoder, auto_decoder, auto_encoder

EncoderFactory = Callable[[tuple[int, ...], int], Encoder]
DecoderFactory = Callable[[tuple[int, ...], int], Decoder]
PriorFactory = Callable[[int, tuple[int, ...]], Prior]


class VAE(VariationalModel):
    """Variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114), conditional if it is told to be.

    Minimises a bound on −log p(x), or −log p(x|y), in nats, summed over dimensions and averaged over images.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z.
        encoder: Makes the inference network q(z|x) from (image_shape, latent_dim).
        decoder: Makes the generative network from (shape of the likelihood's parameters, latent_dim).
        likelihood: Makes p(x|z) from (image_shape); by default `default_likelihood`: Bernoulli for
            grey images, a Gaussian of optimal σ for images in colour, a Gaussian for points.
        prior: Makes p(z) from (latent_dim, image_shape).
        start_at_mean: Let a training from new weights start with the decoder's last bias at the training images' mean,
            for a Bernoulli the logit of each pixel's (Burda et al. 2016, arXiv:1509.00519).
        **kwargs: All other arguments of ``VariationalModel``.

    Raises:
        ValueError: for arguments of ``VariationalModel`` that it refuses, a prior that doesn't suit the encoder, or
            ``start_at_mean`` for a likelihood or decoder that has no such bias.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 32,
        encoder: EncoderFactory = auto_encoder,
        decoder: DecoderFactory = auto_decoder,
        likelihood: LikelihoodFactory = default_likelihood,
        prior: PriorFactory = StandardNormal,
        start_at_mean: bool = False,
        **kwargs: Any,
    ) -> None:
        made = made_likelihood(likelihood, tuple(image_shape), kwargs.get("bounded", True))
        super().__init__(image_shape, latent_dim, made, **kwargs)
        self.encoder = encoder(self.image_shape, latent_dim, **self.condition)
        self.decoder = decoder(self.likelihood.parameter_shape, latent_dim, **self.condition)
        self.prior = prior(latent_dim, self.image_shape)
        self.prior.check(self.encoder)
        self.start_at_mean = start_at_mean and kwargs.get("init_from") is None
        if start_at_mean:
            self._bias_at(torch.full(self.image_shape, 0.5))  # refuses at once, not when there are data
        self.define_networks(("encoder",), ("decoder", "likelihood", "prior"))

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set the decoder's last bias to the parameters that data of this mean, as the likelihood models them, have.

        Raises:
            ValueError: for a likelihood or decoder that has no such bias.
        """
        bias = self._bias_at(mean)
        for decoder in (self.decoder, self.network("decoder")):
            decoder.output_bias.copy_(bias)  # type: ignore[operator]

    def _bias_at(self, mean: Tensor) -> Tensor:
        """What ``start_at`` sets."""
        parameters = self.likelihood.parameters_of(mean)
        if self.decoder.output_bias is None:
            raise ValueError(
                f"start_at_mean=True: {type(self.decoder).__name__} has no bias for each pixel; an MLPDecoder has"
            )
        return parameters.flatten()

    def terms(self, x: Tensor, noise: Tensor, *labels: Tensor, detach_posterior: bool = False) -> Terms:
        """log p(x|z), log p(z) and log q(z|x) at z = μ(x) + σ(x) ε for the K ε of each image."""
        encoder, decoder, prior = self.active("encoder"), self.active("decoder"), self.active("prior")
        mean, log_scale = encoder(x, *labels)
        z = reparametrise(mean, log_scale, noise.transpose(0, 1))
        if self.training and isinstance(prior, ExPostMixture):
            prior.observe(self.gathered(z[0].detach()))
        samples = z.shape[:2]
        params = decoder(z.flatten(0, 1), *(y.repeat(samples[0]) for y in labels)).unflatten(0, samples)
        layer = LayerTerms(z, (mean, log_scale), prior(encoder), detach_posterior)
        return Terms(self.active("likelihood").log_prob(x, params), [layer])

    def posterior_mean(self, x: Tensor, *labels: Tensor) -> Tensor:
        """μ(x), ``(N, latent_dim)``."""
        return self.active("encoder")(x, *labels)[0]

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean image of p(x|z), or of p(x|z, y)."""
        condition = () if labels is None else (labels,)
        return self.network("likelihood").mean(self.network("decoder")(z, *condition))  # type: ignore[operator]

    def latents(self, noise: Tensor) -> Tensor:
        """A sample of the prior."""
        prior = self.network("prior").ex_post(self.network("encoder"))  # type: ignore[operator]
        return prior.sample(noise, self.temperature)


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
