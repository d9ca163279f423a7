"""log p(x) of a variational module for a batch of held-out images."""

import torch
from torch import Tensor

from lit_gen.callbacks.held_out import HeldOutBatch
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
    prior, decoder, likelihood = (module.active(name) for name in ("prior", "decoder", "likelihood"))
    p, x = prior(module.active("encoder")), batch.x

    def log_likelihood(z: Tensor) -> Tensor:
        params = decoder(z.flatten(0, 1), *(y.repeat(len(z)) for y in batch.labels))
        return likelihood.log_prob(x, params.unflatten(0, z.shape[:2]))

    def normal() -> Tensor:
        return batch.random.normal(chains, module.latent_dim).transpose(0, 1).to(x)

    def start() -> Tensor:
        return p.sample(normal().flatten(0, 1)).unflatten(0, (chains, len(x)))

    def uniform() -> Tensor:
        return batch.random.uniform(chains).T.to(x)

    return log_mean_exp(
        annealed_importance_sampling(p.log_prob, log_likelihood, start, sigmoid_schedule(steps), normal, uniform)
    )
