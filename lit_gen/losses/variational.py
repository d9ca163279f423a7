"""Objectives of latent variable models: bounds on log p(x) in nats, summed over dimensions, averaged over images."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lit_gen.losses.terms import Terms
from lit_gen.precision import float32_or_better, logsumexp


@float32_or_better
def log_mean_exp(log_weights: Tensor) -> Tensor:
    """log (1/K) Σ_k exp(log w_k) over the first dimension of ``(K, *)``, in log space throughout."""
    return logsumexp(log_weights, 0) - math.log(len(log_weights))


@dataclass(frozen=True)
class WarmUp(ABC):
    """A factor in [0, 1] on the KL divergence's weight, as a function of the generative network's updates.

    It has no state: a resumed run finds its place by the number of updates, which the checkpoint holds.
    """

    @abstractmethod
    def __call__(self, update: int) -> float:
        """The factor for the update that follows ``update`` completed ones."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Updates after which the factor is 1 for the first time."""


@dataclass(frozen=True)
class LinearWarmUp(WarmUp):
    """min(1, t / T) (Bowman et al. 2016, arXiv:1511.06349; Sønderby et al. 2016, arXiv:1602.02282).

    Args:
        updates: T.

    Raises:
        ValueError: for less than 1 update.
    """

    updates: int

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise ValueError(f"updates={self.updates}: LinearWarmUp needs at least 1 update, or null for no warm-up")

    def __call__(self, update: int) -> float:
        """t / T, then 1."""
        return min(1.0, update / self.updates)

    @property
    def length(self) -> int:
        """T."""
        return self.updates


@dataclass(frozen=True)
class CyclicalWarmUp(WarmUp):
    """Linear from 0 to 1 over the first ``share`` of each period, then 1 (Fu et al. 2019, arXiv:1903.10145, eq. 6).

    Args:
        period: Updates of a cycle.
        share: R, the part of a cycle in which the factor rises.

    Raises:
        ValueError: for a period below 1, or a share outside (0, 1].
    """

    period: int
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period={self.period}: CyclicalWarmUp needs at least 1 update")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: CyclicalWarmUp needs a part of the period, above 0 and at most 1")

    def __call__(self, update: int) -> float:
        """min(1, τ / R) with τ = (t mod period) / period."""
        return min(1.0, update % self.period / self.period / self.share)

    @property
    def length(self) -> int:
        """R periods, rounded up; with R = 1 the factor starts again just before 1."""
        return math.ceil(self.share * self.period)


class VariationalObjective(ABC):
    """What the generative and the inference network minimise together; subclasses are frozen dataclasses."""

    samples: int  # of z for each image

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}: {type(self).__name__} needs at least 1 sample of z an image")

    @property
    def detach_posterior(self) -> bool:
        """Whether log q shall take q's parameters as constants (see ``LayerTerms``)."""
        return False

    @property
    def couples_batch(self) -> bool:
        """Whether it is no mean over samples, so that parts of a batch, and processes, each have their own."""
        return False

    def check(self, layers: int, updates: float) -> None:  # noqa: B027  # most have nothing to refuse
        """Refuse, before training, what this objective can't do with that model or in that time.

        Args:
            layers: Stochastic layers of the model.
            updates: Updates that the training will make; infinite if it has no end.

        Raises:
            ValueError: naming the argument.
        """

    def bound(self, terms: Terms) -> dict[str, Tensor]:
        """The negative bound of held-out images and its parts, in nats: without weights, whatever the training's."""
        reconstruction, kls = -terms.log_likelihood.mean(), terms.kls
        return {"nelbo_nats": reconstruction + _sum(kls), "reconstruction_nats": reconstruction, **_named(kls)}

    @abstractmethod
    def __call__(self, terms: Terms, update: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and values to log.

        Args:
            terms: Of a batch, with ``samples`` samples an image.
            update: Completed updates of the generative network.
        """


@dataclass(frozen=True)
class ELBO(VariationalObjective):
    """The negative evidence lower bound, E_q[−log p(x|z)] + β Σ_l max(λ, KL_l) (arXiv:1312.6114, eq. 3).

    With β = 1, λ = 0 and no warm-up it bounds −log p(x). KL_l is the batch's mean in nats of one stochastic layer,
    closed form where q and p are Gaussian.

    Args:
        beta: β, the weight of the KL divergence (Higgins et al. 2017).
        samples: K, samples of z an image, over which the bound is averaged.
        free_bits: λ in nats for each stochastic layer (Kingma et al. 2016, arXiv:1606.04934, eq. 15): a batch's mean
            KL below it has no gradient. With accumulation or several processes it is the mean of each part.
        warm_up: Factor on β.

    Raises:
        ValueError: for numbers that are negative or not finite, or no sample.
    """

    beta: float = 1.0
    samples: int = 1
    free_bits: float = 0.0
    warm_up: WarmUp | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in {"beta": self.beta, "free_bits": self.free_bits}.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value}: ELBO needs a finite number, at least 0")

    def check(self, layers: int, updates: float) -> None:
        """Refuse a warm-up that the training doesn't reach the end of."""
        if self.warm_up is not None and self.warm_up.length > updates:
            raise ValueError(
                f"warm_up={self.warm_up}: the weight of the KL divergence would reach its full value after "
                f"{self.warm_up.length} updates, but the training makes {updates:.0f}"
            )

    @property
    def couples_batch(self) -> bool:
        """With free bits it does: they bound a batch's mean divergence."""
        return self.free_bits > 0

    def __call__(self, terms: Terms, update: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted bound; reconstruction and KL are logged as they are, without weight and free bits."""
        weight = self.beta if self.warm_up is None else self.beta * self.warm_up(update)
        reconstruction, kls = -terms.log_likelihood.mean(), terms.kls
        counted = kls if self.free_bits == 0 else [kl.clamp(min=self.free_bits) for kl in kls]
        loss = torch.add(reconstruction, _sum(counted), alpha=weight)
        values = {"loss": loss, "reconstruction_nats": reconstruction, **_named(kls)}
        if self.warm_up is not None:
            values["kl_weight"] = loss.new_tensor(weight)
        return loss, values


@dataclass(frozen=True)
class IWAE(VariationalObjective):
    """The negative importance-weighted bound, −E log (1/K) Σ_k w_k (Burda et al. 2016, arXiv:1509.00519, eq. 8).

    w_k = p(x, z_k) / q(z_k | x). With w̃ = w / Σ w, the gradients in the inference network's parameters φ are:

    - "standard": Σ_k w̃_k ∇ log w_k, as the bound gives it;
    - "dreg": doubly reparametrised (Tucker et al. 2019, arXiv:1810.04152, eq. 8), Σ_k w̃_k² ∂log w_k/∂z_k ∂z_k/∂φ:
      unbiased too, and its variance doesn't grow with K as the standard one's does relative to the gradient;
    - "stl": sticking the landing (Roeder et al. 2017, arXiv:1703.09194), ∂log w/∂z ∂z/∂φ: the score of q is dropped.
      Its expectation is zero for K = 1, where "stl" is "dreg". For more samples it is not, and "stl" is refused.

    "dreg" and "stl" are for one stochastic layer: with more, q of a layer depends on the samples of another, and
    the gradient of a sample arrives by several paths, which would have to be weighed apart.

    The generative network's gradient is the bound's in all cases.

    Args:
        samples: K.
        gradient: "standard", "dreg" or "stl".

    Raises:
        ValueError: for no sample, an unknown gradient, or "stl" with several samples.
    """

    samples: int = 5
    gradient: Literal["standard", "dreg", "stl"] = "standard"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradient not in ("standard", "dreg", "stl"):
            raise ValueError(f"gradient={self.gradient!r}: IWAE knows 'standard', 'dreg' and 'stl'")
        if self.gradient == "stl" and self.samples > 1:
            raise ValueError(f"gradient='stl', samples={self.samples}: biased for more than 1 sample; take 'dreg'")

    @property
    def detach_posterior(self) -> bool:
        """For the gradients along the path through z alone."""
        return self.gradient != "standard"

    def check(self, layers: int, updates: float) -> None:
        """Refuse path gradients through several stochastic layers."""
        if self.detach_posterior and layers > 1:
            raise ValueError(f"gradient={self.gradient!r}: for 1 stochastic layer, not {layers}; take 'standard'")

    def __call__(self, terms: Terms, update: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The bound, and beside it the ELBO of the same samples."""
        if self.detach_posterior:
            _weigh_paths(terms)
        loss = -log_mean_exp(terms.log_weights).mean()
        return loss, {"loss": loss, "nelbo_nats": -terms.log_weights.mean()}

    def bound(self, terms: Terms) -> dict[str, Tensor]:
        """The importance-weighted bound, by its number of samples, beside the ELBO and its parts."""
        weighted = -log_mean_exp(terms.log_weights).mean()
        return {f"niwae{self.samples}_nats": weighted, **super().bound(terms)}


def _sum(kls: list[Tensor]) -> Tensor:
    return kls[0] if len(kls) == 1 else torch.stack(kls).sum()


def _named(kls: list[Tensor]) -> dict[str, Tensor]:
    layers = {f"kl_nats_{i}": kl for i, kl in enumerate(kls, 1)} if len(kls) > 1 else {}
    return {"kl_nats": _sum(kls), **layers}


def _weigh_paths(terms: Terms) -> None:
    """Have z's gradient, which carries one normalised weight already, multiplied by it once more."""
    z = terms.layers[0].z
    if z.requires_grad:
        weights = torch.softmax(terms.log_weights.detach(), 0)
        z.register_hook(lambda gradient: gradient * weights.reshape(*weights.shape, *[1] * (z.ndim - 2)))
