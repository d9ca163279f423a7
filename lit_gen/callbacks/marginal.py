"""log p(x) of a variational module for a batch of held-out images."""

from typing import Any

import torch
from torch import Tensor

from lit_gen.callbacks.held_out import HeldOutBatch
from lit_gen.distributions import normal_log_prob
from lit_gen.losses import log_mean_exp
from lit_gen.metrics import (
    ImportanceWeights,
    annealed_importance_sampling,
    importance_sampling,
    sigmoid_schedule,
)
from lit_gen.modules.vae import VAE
from lit_gen.modules.variational import VariationalModule


@torch.no_grad()
def importance_weights(
    module: VariationalModule, batch: HeldOutBatch, samples: int, samples_at_once: int
) -> ImportanceWeights:
    """The weights of ``samples`` samples of q for each image; so many at once, rounded to multiples of 16."""

    def noise(k: int) -> Tensor:
        return batch.random.normal(k, module.noise_dim).to(batch.x)

    def log_weights(noise: Tensor) -> Tensor:
        return module.terms(batch.x, noise, *batch.labels).log_weights

    return importance_sampling(log_weights, noise, samples, max(16, samples_at_once // 16 * 16))


@torch.no_grad()
def annealed_log_likelihood(module: VAE, batch: HeldOutBatch, steps: int, chains: int) -> Tensor:
    """log p(x) in nats, ``(N,)`` float64, by ``chains`` chains an image of annealed importance sampling."""
    encoder, decoder, prior = module.active("encoder"), module.active("decoder"), module.active("prior")
    x, n = batch.x, len(batch.x)
    labels = [y.repeat(chains) for y in batch.labels]
    density: Any = prior.density(encoder)

    def log_prior(z: Tensor) -> Tensor:
        return density(z) if density is not None else normal_log_prob(z, z.new_zeros(()), z.new_zeros(())).sum(-1)

    def log_likelihood(z: Tensor) -> Tensor:
        return module.likelihood.log_prob(x, decoder(z.flatten(0, 1), *labels).unflatten(0, (chains, n)))

    def normal() -> Tensor:
        return batch.random.normal(chains, module.latent_dim).transpose(0, 1).to(x)

    z = prior.transform(normal().flatten(0, 1), 1.0, encoder).unflatten(0, (chains, n))
    log_weights = annealed_importance_sampling(
        log_prior, log_likelihood, z, sigmoid_schedule(steps), normal, lambda: batch.random.uniform(chains).T.to(x)
    )
    return log_mean_exp(log_weights)
