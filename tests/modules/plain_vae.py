"""A VAE's training in plain PyTorch: networks, densities, bounds and the loop, written from the papers' formulas.

Of the library it takes the first weights and the random numbers alone. Networks have one hidden layer.
"""

import math
from typing import Any

import torch
from plain_gan import SEED, Weights, one_hot, own_weights, parts_of, stepper
from torch import Tensor
from torch.nn import functional as F

from lit_gen.training.randomness import Randomness


def layers(w: Weights, x: Tensor, slope: float) -> Tensor:
    before = x @ w["layers.0.weight"].T + w["layers.0.bias"]
    return torch.where(before > 0, before, slope * before) @ w["layers.3.weight"].T + w["layers.3.bias"]


def encoded(w: Weights, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and log σ, which are far below 8, where the bound on log σ begins."""
    x = x.reshape(len(x), -1)
    return layers(w, x if y is None else torch.cat([x, one_hot(y)], 1), 0.2).chunk(2, 1)


def log_normal(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    return torch.distributions.Normal(mean, log_scale.exp()).log_prob(x)


def observed(likelihood: str, images: Tensor, uniform: Tensor) -> Tensor:
    """x of images in [-1, 1]."""
    grey = (images + 1) / 2
    return {
        "Bernoulli": lambda: grey,
        "dynamic": lambda: (grey > uniform).to(grey),
        "ContinuousBernoulli": lambda: (255 * grey + uniform) / 256,
        "Gaussian": lambda: images + 2 / 255 * (uniform - 0.5),
        "SharedSigma": lambda: images + 2 / 255 * (uniform - 0.5),
    }[likelihood]()


def log_likelihood(likelihood: str, own: Weights, x: Tensor, params: Tensor) -> Tensor:
    """log p(x | z), ``(K, N)``, of x ``(N, C, H, W)`` and the decoder's output ``(K, N, features)``."""
    x = x.flatten(1)
    if likelihood in ("Bernoulli", "dynamic"):
        return (x * F.logsigmoid(params) + (1 - x) * F.logsigmoid(-params)).sum(2)
    if likelihood == "ContinuousBernoulli":
        return torch.distributions.ContinuousBernoulli(logits=params, lims=(0.5, 0.5)).log_prob(x).sum(2)
    mean, log_scale = params.chunk(2, 2) if likelihood == "Gaussian" else (params, own["raw_log_sigma"])
    return log_normal(x, mean, log_scale).sum(2)


def log_prior(prior: str, own: Weights, encoder: Weights, shape: tuple[int, ...], z: Tensor) -> Tensor:
    """log p(z), ``(K, N)``."""
    if prior in ("StandardNormal", "ExPostMixture"):
        return log_normal(z, torch.zeros(()), torch.zeros(())).sum(2)
    if prior == "GaussianMixture":
        means, log_scales, weights = own["means"], own["raw_log_scales"], own["logits"].log_softmax(0)
    else:
        means, log_scales = encoded(encoder, own["pseudo_inputs"].reshape(-1, *shape), None)
        weights = torch.full((len(means),), -math.log(len(means)))
    components = [w + log_normal(z, m, s).sum(2) for w, m, s in zip(weights, means, log_scales, strict=True)]
    return torch.stack(components).logsumexp(0)


def detached(w: Weights) -> Weights:
    return {name: weight.detach() for name, weight in w.items()}


class PlainVAE:
    """The loop, for a case of test_differential_variational.py."""

    def __init__(self, module: Any, case: dict[str, Any]) -> None:
        self.case = case
        names = ("encoder", "decoder", "likelihood", "prior")
        self.w = {name: own_weights(getattr(module, name)) for name in names}
        self.averages = {name: detached({k: v.clone() for k, v in own.items()}) for name, own in self.w.items()}
        players = {"encoder": names[:1], "decoder": names[1:]} if case["encoder_steps"] else {"vae": names}
        self.players = {name: (owned, self.stepper_of(owned)) for name, owned in players.items()}
        self.updates, self.images_seen = dict.fromkeys(players, 0), 0
        self.latents: list[Tensor] = []  # that an ex post prior keeps

    def stepper_of(self, names: tuple[str, ...]) -> Any:
        weights = {f"{name}.{key}": weight for name in names for key, weight in self.w[name].items()}
        if self.case["optimizer"] == "SGD":
            optimizer: torch.optim.Optimizer = torch.optim.SGD(weights.values(), lr=0.01, momentum=0.5)
        else:
            optimizer = torch.optim.Adam(weights.values(), lr=0.01, fused=False, foreach=False)
        return stepper(weights, optimizer, 0.4 if self.case["clip_norm"] else None)

    def train(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        random, every = Randomness(), self.case["encoder_steps"]
        for step, batch in enumerate(batches):
            random.reseed(SEED, "train", step)
            self.update("encoder" if every else "vae", batch, random)
            self.images_seen += len(batch[0])
            self.follow("encoder" if every else "vae", len(batch[0]))
            if every and (step + 1) % every == 0:
                self.update("decoder", batch, random)
                self.follow("decoder", len(batch[0]))

    def update(self, player: str, batch: tuple[Tensor, Tensor], random: Randomness) -> None:
        images, n = batch[0], len(batch[0])
        y = batch[1] if self.case["conditional"] else None
        x = observed(self.case["likelihood"], images, random.uniform(*images.shape))
        latent_dim = len(self.w["encoder"]["layers.3.bias"]) // 2
        epsilon = random.normal(n, samples_of(self.case["objective"]), latent_dim).transpose(0, 1)
        loss: Any = 0.0
        for rows in self.rows(n):
            part = x[rows], epsilon[:, rows], None if y is None else y[rows]
            loss = loss + len(part[0]) / n * self.loss(*part)
        with torch.no_grad():
            mean, log_scale = encoded(self.w["encoder"], x, y)
            self.latents.extend(mean + log_scale.exp() * epsilon[0])
        self.players[player][1](loss)
        self.updates[player] += 1

    def rows(self, n: int) -> list[slice]:
        """Parts where the formula is none of means over samples: free bits of a part's mean divergence."""
        return parts_of(n, self.case["parts"] if self.case["objective"] == "free bits" else 1)

    def loss(self, x: Tensor, epsilon: Tensor, y: Tensor | None) -> Tensor:
        objective, mean_and_scale = self.case["objective"], encoded(self.w["encoder"], x, y)
        z = mean_and_scale[0] + mean_and_scale[1].exp() * epsilon
        if objective in ("dreg", "stl"):
            return self.path_gradients(x, y, z, mean_and_scale)
        log_p, log_q, log_x = self.densities(x, y, z, mean_and_scale, self.w)
        if objective == "IWAE":
            return -((log_x + log_p - log_q).exp().mean(0).log()).mean()
        mean, log_scale = mean_and_scale
        kl = (log_q - log_p).mean()
        if self.case["prior"] in ("StandardNormal", "ExPostMixture"):
            kl = (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1).mean() / 2
        if objective == "free bits":
            return -log_x.mean() + torch.maximum(kl, torch.tensor(0.8))
        count = self.updates["decoder" if self.case["encoder_steps"] else "vae"]
        weight = {"ELBO": 1.0, "beta": 0.3, "warm up": 0.3 * min(1, count / 2)}[objective]
        return -log_x.mean() + weight * kl

    def densities(
        self, x: Tensor, y: Tensor | None, z: Tensor, q: tuple[Tensor, Tensor], w: dict[str, Weights]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log p(z), log q(z | x), log p(x | z), each ``(K, N)``."""
        condition = [] if y is None else [one_hot(y).expand(len(z), -1, -1)]
        params = layers(w["decoder"], torch.cat([z, *condition], 2), 0.0)
        return (
            log_prior(self.case["prior"], w["prior"], w["encoder"], tuple(x.shape[1:]), z),
            log_normal(z, *q).sum(2),
            log_likelihood(self.case["likelihood"], w["likelihood"], x, params),
        )

    def path_gradients(self, x: Tensor, y: Tensor | None, z: Tensor, q: tuple[Tensor, Tensor]) -> Tensor:
        """What has the gradient Σ w̃² ∂log w/∂z ∂z/∂φ, and Σ w̃ ∂log w/∂θ in all that p is made of."""
        q = (q[0].detach(), q[1].detach())
        log_p, log_q, log_x = self.densities(x, y, z, q, {name: detached(own) for name, own in self.w.items()})
        by_path = log_x + log_p - log_q
        log_p, log_q, log_x = self.densities(x, y, z.detach(), q, self.w)
        by_weights = log_x + log_p - log_q
        share = by_path.detach().softmax(0)
        return -(share**2 * by_path + share * by_weights).sum(0).mean()

    def follow(self, player: str, images: int) -> None:
        """Weight averages of half-life 10 images."""
        share = 0.5 ** (images / 10)
        for name in self.players[player][0]:
            self.averages[name] = {
                k: share * mean + (1 - share) * self.w[name][k].detach() for k, mean in self.averages[name].items()
            }


def samples_of(objective: str) -> int:
    return {"ELBO": 1, "stl": 1, "beta": 2, "free bits": 2}.get(objective, 3)
