"""Variational autoencoders with several stochastic layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lit_gen.distributions import DiagonalNormal, default_likelihood
from lit_gen.losses import LayerTerms, Terms
from lit_gen.models.variational import LikelihoodFactory, VariationalModel, made_likelihood
from lit_gen.networks import Hierarchy, Ladder

HierarchyFactory = Callable[[tuple[int, ...], tuple[int, ...]], Hierarchy]


class HierarchicalVAE(VariationalModel):
    """A VAE with stochastic layers z_1, nearest to x, to z_T: p(x | z_1, …) ∏ p(z_t | z_{>t}), N(0, I) on top.

    How q is built is the hierarchy's matter: `BottomUp` for the chain q(z_t | z_{t−1}), `Ladder` (arXiv:1602.02282) or
    `TopDown` (arXiv:1606.04934, arXiv:2007.03898). Every layer's divergence is logged as ``kl_nats_t``: a layer that
    collapses has none.

    ``latent_dim`` is that of z_T, flattened, which ``encode`` and ``decode`` go by.

    IWAE takes its standard gradient here.

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        hierarchy: Makes p and q from (image_shape, shape of the likelihood's parameters).
        likelihood: Makes p(x|z) from (image_shape); by default `default_likelihood`: Bernoulli for
            grey images, a Gaussian of optimal σ for images in colour, a Gaussian for points.
        **kwargs: All other arguments of ``VariationalModel``, but neither ``encoder_steps`` nor ``conditional``: p and
            q share networks, which take joint steps and no labels.

    Raises:
        ValueError: for those, and arguments of ``VariationalModel`` that it refuses.
    """

    hierarchy: Hierarchy

    def __init__(
        self,
        image_shape: tuple[int, ...],
        hierarchy: HierarchyFactory = Ladder,
        likelihood: LikelihoodFactory = default_likelihood,
        **kwargs: Any,
    ) -> None:
        made = made_likelihood(likelihood, tuple(image_shape), kwargs.get("bounded", True))
        stack = hierarchy(tuple(image_shape), made.parameter_shape)
        super().__init__(image_shape, stack.sizes[-1], made, **kwargs)
        if self.encoder_steps > 0:
            raise ValueError(f"encoder_steps={self.encoder_steps}: 0, as p and q of a hierarchy share networks")
        if self.conditional:
            raise ValueError("conditional=True: False, as hierarchies take no labels; VAE models p(x | y)")
        self.hierarchy = stack
        self.stochastic_layers = len(stack.sizes)
        self.define_networks(("hierarchy",), ("likelihood",))

    @property
    def noise_dim(self) -> int:
        """Dimensions of all layers together."""
        return self.hierarchy.latent_dim

    def terms(self, x: Tensor, noise: Tensor, *labels: Tensor, detach_posterior: bool = False) -> Terms:
        """log p(x|z), and each layer's log p(z_t | z_{>t}) and log q, for the K ε of each image.

        Raises:
            ValueError: for ``detach_posterior`` with several layers, where q of one depends on the samples of another.
        """
        if detach_posterior and self.stochastic_layers > 1:
            raise ValueError(f"detach_posterior=True: for 1 stochastic layer, not {self.stochastic_layers}")
        params, latents = self.active("hierarchy")(noise.transpose(0, 1), x)
        layers = [
            LayerTerms(z, posterior, DiagonalNormal(mean, log_scale, z.ndim - 2), detach_posterior, independent)
            for z, posterior, (mean, log_scale), independent in latents
        ]
        return Terms(self.active("likelihood").log_prob(x, params), layers)

    def posterior_mean(self, x: Tensor, *labels: Tensor) -> Tensor:
        """The mean of q(z_T | ·), ``(N, latent_dim)``, with the layers below at their means."""
        return self.posterior(x)[0]

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log σ of q(z_T | ·), each ``(N, latent_dim)``, with the layers below at their means."""
        _, latents = self.active("hierarchy")(x.new_zeros(1, x.shape[0], self.noise_dim), x)
        mean, log_scale = (parameter[0].flatten(1) for parameter in latents[-1].posterior)
        return mean, log_scale

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean image of p(x|z) for z_T = ``z``, ``(N, latent_dim)``, with all layers below at their means."""
        below = z.new_zeros(z.shape[0], self.noise_dim - self.latent_dim)
        return self._images(torch.cat([below, z], 1).unsqueeze(0))[0]

    def from_noise(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean image at an ancestral sample: z_T, then each layer given those above. z_1's noise comes first."""
        return self._images(self.temperature * noise.unsqueeze(0))[0]

    @torch.no_grad()
    def vary(
        self,
        level: int,
        n: int,
        variants: int,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """What layers 1 to ``level`` add to those above: the latter stay, the former are drawn again from p.

        Args:
            level: 0 draws nothing again, T everything.
            n: Draws of the layers above.
            variants: Draws of the others for each of them.
            images: Where the layers above come from: q given these n images in [-1, 1], or p if None.
            generator: Source of randomness on the CPU.

        Returns:
            Mean images ``(n, variants, *image_shape)``, from the averaged networks in eval mode.

        Raises:
            ValueError: for a level that is not there, or a number of images that is not ``n``.
        """
        depth = self.stochastic_layers
        if not 0 <= level <= depth:
            raise ValueError(f"level={level}: from 0 to {depth}, the number of stochastic layers")
        if images is not None and len(images) != n:
            raise ValueError(f"n={n}: {len(images)} images are given")
        noises = [
            torch.randn(k, n, self.noise_dim, generator=generator).to(self.device, self.dtype) for k in (1, variants)
        ]
        with self.evaluating():
            _, latents = self.active("hierarchy")(noises[0], None if images is None else self.observe(images))
            above = [latent.z.expand(variants, *latent.z.shape[1:]) for latent in latents[level:]]
            return self._images(noises[1], [None] * level + above).transpose(0, 1)

    def _images(self, noise: Tensor, given: list[Tensor | None] | tuple[()] = ()) -> Tensor:
        """Mean images ``(K, N, *image_shape)`` for noise ``(K, N, noise_dim)``."""
        params = self.network("hierarchy")(noise, None, given)[0]
        return self.network("likelihood").mean(params)  # type: ignore[operator]
