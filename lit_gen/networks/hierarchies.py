"""Three ways to infer a stack of stochastic layers, each fully connected or convolutional."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_gen.distributions.gaussian import reparametrise
from lit_gen.networks.stack import Stack, linear
from lit_gen.networks.stochastic import Conditional, Normal, PrecisionWeighted, Recognised, Residual, TopDownLayer


class BottomUp(Stack):
    """A chain both ways: q(z_1 | x) ∏ q(z_t | z_{t−1}) and p(x | z_1) ∏ p(z_{t−1} | z_t).

    The plain deep VAE (section 2 of arXiv:1602.02282), and the model of several layers of arXiv:1509.00519.
    """

    def build(self) -> None:
        """q and p by networks of the same hidden layers."""
        starts = [self.image_shape, *self.latent_shapes[:-1]]
        self.recognition = nn.ModuleList(self.conditional(start, t) for t, start in enumerate(starts))
        self.markov([Recognised() for _ in self.latent_shapes], independent=False)

    def evidence(self, x: Tensor, noise: list[Tensor], given: Sequence[Tensor | None]) -> list[Normal]:
        """q(z_t | z_{t−1}), with each z drawn on the way up from the noise that draws it again on the way down."""
        found, z = [], x.unsqueeze(0)
        for network, epsilon, known in zip(self.recognition, noise, given, strict=True):
            posterior = network(z)
            z = reparametrise(posterior[0], posterior[1], epsilon) if known is None else known
            found.append(posterior)
        return found


class Ladder(Stack):
    """Ladder VAE (Sønderby et al. 2016, arXiv:1602.02282): the chain's p, and a q that merges it with evidence.

    Deterministic d_t climb from x and give μ̂_t and σ̂_t; on the way down q(z_t | z_{t+1}, x) is their product with
    p(z_t | z_{t+1}), weighted by precision. On top q(z_T | x) is N(μ̂_T, σ̂_T²) itself.
    """

    def build(self) -> None:
        """The way up, its Gaussians, and the chain down."""
        self.up = self.upward()
        self.evidences = nn.ModuleList(Conditional(self.head(t)) for t in range(len(self.latent_shapes)))
        weighted = [PrecisionWeighted() for _ in self.latent_shapes[1:]]
        self.markov([*weighted, Recognised()], independent=True)

    def evidence(self, x: Tensor, noise: list[Tensor], given: Sequence[Tensor | None]) -> list[Normal]:
        """(μ̂_t, log σ̂_t), `(1, N, *latent)`."""
        return [head(d) for head, d in zip(self.evidences, self.climb(x), strict=True)]


class TopDown(Stack):
    """Bidirectional inference along a deterministic path (arXiv:1606.04934, arXiv:2007.03898).

    h_t comes down from a learned constant: z_t is added to it by a residual block, and it passes on to the layer
    below, so that p(z_t | z_{>t}) sees all layers above and x sees all layers. q(z_t | z_{>t}, x) is relative to p: see
    `Residual`. Training starts at q = p = N(0, I).
    """

    def build(self) -> None:
        """The way up, the path down with its Gaussians, and the constant on top of it."""
        self.up = self.upward()
        self.constant = nn.Parameter(torch.zeros(1, 1, *self.features[-1]))
        below = [self.features[0], *self.features[:-1]]
        layers = []
        for t, (latent, feature) in enumerate(zip(self.latent_shapes, self.features, strict=True)):
            top = t == len(self.features) - 1
            channels, *side = feature
            # Else Δμ/σ_p grows unchecked while a warm-up begins, and costs thousands of nats when it has risen.
            posterior = Residual(*self.block((2 * channels, *side), feature), zeroed(self.head(t)))
            merge = nn.Sequential(*self.block((channels + latent[0], *side), feature))
            down = nn.Sequential(*(self.block(feature, below[t]) if t > 0 else []))
            prior = None if top else Conditional(zeroed(self.head(t)))
            layers.append(TopDownLayer(latent, prior, posterior, ResidualTransition(channels, merge, down)))
        self.layers = nn.ModuleList(layers)
        self.output = linear(self.features[0], self.output_shape)

    def evidence(self, x: Tensor, noise: list[Tensor], given: Sequence[Tensor | None]) -> list[Tensor]:
        """d_t, `(1, N, *feature)`."""
        return self.climb(x)

    def initial_state(self, noise: Tensor) -> Tensor:
        """The constant, for every sample."""
        return self.constant.expand(*noise.shape[:2], *self.features[-1])


class ResidualTransition(nn.Module):
    """h_t, joined with z_t, to h_{t−1} = down(h_t + merge(h_t, z_t))."""

    def __init__(self, channels: int, merge: nn.Module, down: nn.Module):
        super().__init__()
        self.channels, self.merge, self.down = channels, merge, down

    def forward(self, joined: Tensor) -> Tensor:
        """`(N, ...)`, the first `channels` being h_t's."""
        return self.down(joined[:, : self.channels] + self.merge(joined))


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with all weights zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
