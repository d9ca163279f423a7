"""Variational autoencoders."""

from collections.abc import Callable

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lit_gen.distributions import Likelihood, auto_likelihood, kl_standard_normal, reparametrise
from lit_gen.modules.base import Batch
from lit_gen.modules.player import Player
from lit_gen.modules.sampling import LatentVariableModel
from lit_gen.networks import Decoder, Encoder, auto_decoder, auto_encoder
from lit_gen.optimizers import VAEAdam

EncoderFactory = Callable[[tuple[int, ...], int], Encoder]
DecoderFactory = Callable[[tuple[int, ...], int], Decoder]
LikelihoodFactory = Callable[[tuple[int, ...]], Likelihood]


class VAE(LatentVariableModel):
    """Variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114).

    Minimises the negative evidence lower bound in nats, summed over dimensions and averaged over images:
    E_q[−log p(x|z)] + β KL(q(z|x) ‖ N(0, I)). With β = 1 it is a bound on −log p(x); other values weigh the
    latent code (Higgins et al. 2017). Validation always logs the bound itself, β = 1.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z.
        encoder: Makes the inference network q(z|x) from (image_shape, latent_dim).
        decoder: Makes the generative network from (shape of the likelihood's parameters, latent_dim).
        likelihood: Makes p(x|z) from (image_shape); by default Bernoulli for images, Gaussian for points.
        beta: Weight of the KL divergence.
        optimizer: Any class of torch.optim or lit_gen.optimizers.
        scheduler: Learning-rate schedule counted in updates.
        clip_norm: Largest gradient norm.
        accumulate: Parts in which a batch is taken, to save memory.
        ema_half_life: Half-life of the networks' weight averages in images; null for none. Samples and
            validation use the averages.

    Raises:
        ValueError: if ``beta`` is negative.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 32,
        encoder: EncoderFactory = auto_encoder,
        decoder: DecoderFactory = auto_decoder,
        likelihood: LikelihoodFactory = auto_likelihood,
        beta: float = 1.0,
        optimizer: OptimizerCallable = VAEAdam,
        scheduler: LRSchedulerCallable | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        ema_half_life: float | None = None,
        num_classes: int = 0,
        conditional: bool = False,
    ) -> None:
        super().__init__(image_shape, latent_dim, num_classes, conditional, ema_half_life)
        if not beta >= 0:
            raise ValueError(f"beta={beta}: the weight of the KL divergence can't be negative")
        self.beta = beta
        self.likelihood = likelihood(self.image_shape)
        self.encoder = encoder(self.image_shape, latent_dim)
        self.decoder = decoder(self.likelihood.parameter_shape, latent_dim)
        networks = ("encoder", "decoder", "likelihood")
        self.define(
            [Player("vae", networks, optimizer, scheduler, clip_norm, accumulate)],
            averaged=["encoder", "decoder"],
        )

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One joint step of the generative and the inference network."""
        self.update("vae", self.objective, *self.draw(batch))

    def objective(self, x: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """E_q[−log p(x|z)] + β KL, averaged over images."""
        reconstruction, kl = self.negative_elbo(x, noise)
        loss = reconstruction + self.beta * kl
        return loss, {"loss": loss, "reconstruction_nats": reconstruction, "kl_nats": kl}

    def negative_elbo(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(E_q[−log p(x|z)], KL(q(z|x) ‖ p(z))) in nats, averaged over images."""
        encoder, decoder = (self.encoder, self.decoder) if self.training else map(self.network, ("encoder", "decoder"))
        mean, log_scale = encoder(x)
        z = reparametrise(mean, log_scale, noise)
        log_likelihood = self.likelihood.log_prob(x, decoder(z))
        return -log_likelihood.mean(), kl_standard_normal(mean, log_scale).sum(1).mean()

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The observation x that the likelihood models, and the noise of one z for each image."""
        images, n = batch[0].to(self.dtype), len(batch[0])
        observation_noise = self.random.uniform(n, *self.image_shape).to(images.device)
        x = self.likelihood.observe(images, observation_noise)
        return x, self.random.normal(n, self.latent_dim).to(images.device)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean image of p(x|z), or p(x|z, y)."""
        return self.likelihood.mean(self.network("decoder")(z, *(() if labels is None else (labels,))))

    @torch.no_grad()
    def _bound(self, batch: Batch, stage: str) -> None:
        reconstruction, kl = self.negative_elbo(*self.draw(batch))
        bound = {"nelbo_nats": reconstruction + kl, "reconstruction_nats": reconstruction, "kl_nats": kl}
        self.log_dict(
            {f"{stage}/{key}": value for key, value in bound.items()},
            prog_bar=True,
            sync_dist=self.trainer.world_size > 1,
            batch_size=len(batch[0]),
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The bound on held-out images, in nats."""
        self._bound(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The bound on the test images, in nats."""
        self._bound(batch, "test")
