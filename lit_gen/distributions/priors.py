"""Priors of latent variable models: modules that, called with the inference network, give a distribution p(z)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lit_gen.distributions.gaussian import bound_log_scale
from lit_gen.distributions.mixtures import fit_mixture
from lit_gen.distributions.of_latents import Distribution, FullMixture, Mixture, UnitNormal

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


class Prior(nn.Module, ABC):
    """p(z) on vectors z of `latent_dim`.

    Args:
        latent_dim: D.
        image_shape: of what the inference network takes, `(C, H, W)` or `(D,)`.
    """

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...]):
        super().__init__()
        self.latent_dim = latent_dim
        self.image_shape = tuple(image_shape)

    def check(self, encoder: nn.Module) -> None:
        """Refuse an inference network that this prior can't be made of; most look at none.

        Raises:
            ValueError: naming the prior.
        """

    @abstractmethod
    def forward(self, encode: Encode) -> Distribution:
        """The distribution, for this state of the parameters.

        Args:
            encode: the inference network, x `(N, *image_shape)` to mean and log σ of q(z | x).
        """

    def ex_post(self, encode: Encode) -> Distribution:
        """The distribution that samples come from: p(z), unless a prior fits another one when training has ended."""
        return self(encode)


class StandardNormal(Prior):
    """N(0, I)."""

    def forward(self, encode: Encode) -> UnitNormal:
        """N(0, I), whose divergences have a closed form."""
        return UnitNormal()


class GaussianMixture(Prior):
    """Σ_c π_c N(μ_c, diag σ_c²), learned with the generative network. Divergences from it are estimated at samples.

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

    def forward(self, encode: Encode) -> Mixture:
        """The mixture with the learned π, μ and σ."""
        return Mixture(torch.log_softmax(self.logits, 0), self.means, bound_log_scale(self.raw_log_scales))


class VampPrior(Prior):
    """1/C Σ_c q(z | u_c) with learned pseudo-inputs u (Tomczak and Welling 2018, arXiv:1705.07120, equation 9).

    The pseudo-inputs are not held in the images' range. They start uniform in [0, 1). Batch norm of the inference
    network takes the images' running statistics for them, also in training: as a batch of their own they would
    have posteriors that differ from those in evaluation, and move the statistics away from the images'.

    Args:
        latent_dim: D.
        image_shape: of a pseudo-input.
        pseudo_inputs: C.

    Raises:
        ValueError: for less than one pseudo-input.
    """

    def __init__(self, latent_dim: int, image_shape: tuple[int, ...], pseudo_inputs: int = 500):
        super().__init__(latent_dim, image_shape)
        if pseudo_inputs < 1:
            raise ValueError(f"pseudo_inputs={pseudo_inputs}: VampPrior needs at least 1")
        self.pseudo_inputs = nn.Parameter(torch.rand(pseudo_inputs, *image_shape))

    def check(self, encoder: nn.Module) -> None:
        """Refuse an encoder that needs labels, which pseudo-inputs don't have."""
        if getattr(encoder, "num_classes", 0) > 0:
            raise ValueError(f"prior={type(self).__name__}: its encoder has to be one without labels")

    def forward(self, encode: Encode) -> Mixture:
        """The mixture of the pseudo-inputs' posteriors."""
        with running_statistics(encode):
            means, log_scales = encode(self.pseudo_inputs)
        return Mixture(means.new_full((len(means),), -math.log(len(means))), means, log_scales)


class ExPostMixture(StandardNormal):
    """N(0, I) in training; samples come from a mixture of Gaussians fitted to the aggregated posterior.

    Ghosh et al. 2020 (arXiv:1903.12436, section 4): the decoder is given the z that it has seen, also where q(z)
    has come out different from N(0, I). The mixture, with full covariances, is fitted by EM when a sample is first
    asked for after a training step, to the last `latents` samples of q(z | x), which the checkpoint holds. Before the
    first step it is N(0, I). Bounds and likelihoods are those under N(0, I), always.

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
        self._fitted: tuple[Tensor, tuple[Tensor, Tensor, Tensor]] | None = None  # the latents, and what fits them

    @torch.no_grad()
    def observe(self, z: Tensor) -> None:
        """Keep the samples in place of the oldest."""
        z = z[-len(self.latents) :]
        places = (self.seen + torch.arange(len(z), device=z.device)) % len(self.latents)
        self.latents[places] = z.to(self.latents.dtype)
        self.seen += len(z)

    def ex_post(self, encode: Encode) -> Distribution:
        """The fitted mixture."""
        latents = self.latents[: int(self.seen)].cpu().double()
        if len(latents) < self.components:
            return self(encode)
        # The latents are the key: they change by training steps, loaded states, averages and moves between devices.
        if self._fitted is None or not torch.equal(self._fitted[0], latents):
            self._fitted = (latents, fit_mixture(latents, self.components))
        like = self.latents
        return FullMixture(*(value.to(like.dtype).to(like.device) for value in self._fitted[1]))


@contextmanager
def running_statistics(encode: Any) -> Iterator[None]:
    """Within, norms of the network that keep running statistics use them, and leave them as they are."""
    modules = encode.modules() if isinstance(encode, nn.Module) else ()
    training = [
        layer for layer in modules if isinstance(layer, _NormBase) and layer.training and layer.running_mean is not None
    ]
    for layer in training:
        layer.training = False
    try:
        yield
    finally:
        for layer in training:
            layer.training = True
