"""Priors p(z) of latent variable models, and the way from normal noise to their samples."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from lit_gen.distributions.gaussian import bound_log_scale, normal_log_prob
from lit_gen.precision import float32_or_better

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


class Prior(nn.Module, ABC):
    """p(z) on vectors z of `latent_dim`.

    Args:
        latent_dim: D.
        image_shape: of what the inference network takes, `(C, H, W)` or `(D,)`.

    Attributes:
        needs_encoder: whether p(z) is made of posteriors q(z | x), which an inference network without labels gives.
    """

    needs_encoder: bool = False

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...]):
        super().__init__()
        self.latent_dim = latent_dim
        self.image_shape = tuple(image_shape)

    @abstractmethod
    def density(self, encode: Encode) -> Callable[[Tensor], Tensor] | None:
        """log p(z) as a function of z `(*, D)` that returns nats `(*)`; None for N(0, I), whose KLs are closed form.

        Args:
            encode: the inference network.
        """

    @abstractmethod
    def transform(self, noise: Tensor, temperature: float, encode: Encode) -> Tensor:
        """Turn N(0, I) into samples of p(z), so that a seed fixes them.

        Args:
            noise: `(N, D)`.
            temperature: factor on the standard deviations, 1 for p(z) itself.
            encode: the inference network.
        """


class StandardNormal(Prior):
    """N(0, I)."""

    def density(self, encode: Encode) -> None:
        """None: the objectives know it."""

    def transform(self, noise: Tensor, temperature: float, encode: Encode) -> Tensor:
        """The noise, scaled."""
        return temperature * noise


class MixturePrior(Prior):
    """Σ_c π_c N(μ_c, diag σ_c²); its KLs are estimated at the samples."""

    @abstractmethod
    def components(self, encode: Encode) -> tuple[Tensor, Tensor, Tensor]:
        """log π `(C,)`, means and log scales `(C, D)`."""

    def density(self, encode: Encode) -> Callable[[Tensor], Tensor]:
        """log p(z), with the components computed once."""
        log_weights, means, log_scales = self.components(encode)
        return partial(_log_mixture, log_weights=log_weights, means=means, log_scales=log_scales)

    def transform(self, noise: Tensor, temperature: float, encode: Encode) -> Tensor:
        """A component chosen by the first entry of the noise, and a sample of it."""
        log_weights, means, log_scales = self.components(encode)
        index, noise = choose(log_weights, noise)
        return means[index] + temperature * torch.exp(log_scales[index]) * noise


class GaussianMixture(MixturePrior):
    """A mixture of Gaussians learned with the generative network.

    Args:
        latent_dim: D.
        image_shape: not used.
        components: C.

    Raises:
        ValueError: for less than one component.
    """

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...], components: int = 10):
        super().__init__(latent_dim, image_shape)
        if components < 1:
            raise ValueError(f"components={components}: GaussianMixture needs at least 1")
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.raw_log_scales = nn.Parameter(torch.zeros(components, latent_dim))

    def components(self, encode: Encode) -> tuple[Tensor, Tensor, Tensor]:
        """The learned ones."""
        return torch.log_softmax(self.logits, 0), self.means, bound_log_scale(self.raw_log_scales)


class VampPrior(MixturePrior):
    """1/C Σ_c q(z | u_c) with learned pseudo-inputs u (Tomczak and Welling 2018, arXiv:1705.07120, equation 9).

    The pseudo-inputs are not held in the images' range. They start uniform in [0, 1).

    Args:
        latent_dim: D.
        image_shape: of a pseudo-input.
        pseudo_inputs: C.

    Raises:
        ValueError: for less than one pseudo-input.
    """

    needs_encoder = True

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...], pseudo_inputs: int = 500):
        super().__init__(latent_dim, image_shape)
        if pseudo_inputs < 1:
            raise ValueError(f"pseudo_inputs={pseudo_inputs}: VampPrior needs at least 1")
        self.pseudo_inputs = nn.Parameter(torch.rand(pseudo_inputs, *image_shape))

    def components(self, encode: Encode) -> tuple[Tensor, Tensor, Tensor]:
        """The posteriors of the pseudo-inputs."""
        means, log_scales = encode(self.pseudo_inputs)
        return means.new_full((len(means),), -math.log(len(means))), means, log_scales


class ExPostMixture(StandardNormal):
    """N(0, I) in training; samples come from a mixture of Gaussians fitted to the aggregated posterior.

    Ghosh et al. 2020 (arXiv:1903.12436, section 4): the decoder is given the z that it has seen, also where q(z)
    has come out different from N(0, I). The mixture, with full covariances, is fitted by EM when a sample is first
    asked for after a training step, to the last `latents` samples of q(z | x), which the checkpoint holds. Before the
    first step it is N(0, I).

    Args:
        latent_dim: D.
        image_shape: not used.
        components: C.
        latents: samples of the posterior, of one training image each, that it is fitted to.

    Raises:
        ValueError: for less than one component, or fewer latents than components or dimensions.
    """

    latents: Tensor
    seen: Tensor

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...], components: int = 10, latents: int = 10_000):
        super().__init__(latent_dim, image_shape)
        if components < 1:
            raise ValueError(f"components={components}: ExPostMixture needs at least 1")
        if latents < max(components, latent_dim):
            raise ValueError(
                f"latents={latents}: ExPostMixture needs at least components={components} and latent_dim={latent_dim}"
            )
        self.components = components
        self.register_buffer("latents", torch.zeros(latents, latent_dim))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._fitted: tuple[int, tuple[Tensor, Tensor, Tensor]] | None = None

    @torch.no_grad()
    def observe(self, z: Tensor) -> None:
        """Keep the samples in place of the oldest."""
        z = z[-len(self.latents) :]
        places = (self.seen + torch.arange(len(z), device=z.device)) % len(self.latents)
        self.latents[places] = z.to(self.latents.dtype)
        self.seen += len(z)

    def transform(self, noise: Tensor, temperature: float, encode: Encode) -> Tensor:
        """A sample of the fitted mixture."""
        seen = int(self.seen)
        if seen < self.components:
            return super().transform(noise, temperature, encode)
        if self._fitted is None or self._fitted[0] != seen:
            self._fitted = (seen, _fit_mixture(self.latents[:seen], self.components))
        log_weights, means, factors = (value.to(noise) for value in self._fitted[1])
        index, noise = choose(log_weights, noise)
        return means[index] + temperature * (factors[index] @ noise.unsqueeze(2)).squeeze(2)


@float32_or_better
def _log_mixture(z: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """log Σ_c π_c N(z; μ_c, diag σ_c²), `(*)`, of z `(*, D)`."""
    of_components = normal_log_prob(z.unsqueeze(-2), means, log_scales).sum(-1)
    return torch.logsumexp(of_components + log_weights, -1)


def choose(log_weights: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a component for each row of N(0, I) noise, and leave N(0, I) that doesn't depend on it.

    u = Φ(first entry) is uniform. It falls into one of the intervals that have the weights as their lengths; its place
    in there is uniform again, and Φ⁻¹ of it the new first entry.

    Args:
        log_weights: log π, `(C,)`.
        noise: `(N, D)`.

    Returns:
        Indices int64 `(N,)` and noise `(N, D)`.
    """
    weights = torch.softmax(log_weights.double(), 0)
    ends = weights.cumsum(0)
    u = torch.special.ndtr(noise[:, 0].double())
    index = torch.searchsorted(ends, u).clamp(max=len(weights) - 1)
    place = ((u - ends[index]) / weights[index] + 1).clamp(1e-9, 1 - 1e-9)
    first = torch.special.ndtri(place).to(noise.dtype)
    return index, torch.cat([first.unsqueeze(1), noise[:, 1:]], 1)


def _fit_mixture(z: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """log π `(C,)`, means `(C, D)` and Cholesky factors `(C, D, D)` of a mixture fitted by EM to z `(M, D)`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as EM  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred iterations are enough to sample from
        fitted = EM(components, random_state=0).fit(z.double().cpu().numpy())
    log_weights, means, covariances = map(torch.from_numpy, (fitted.weights_, fitted.means_, fitted.covariances_))
    return log_weights.log(), means, torch.linalg.cholesky(covariances)
