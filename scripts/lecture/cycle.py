"""CycleGAN between two rings of clusters in the plane: what its cycle and identity terms decide."""

from functools import partial
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from lit_gen.losses import LeastSquares
from lit_gen.modules import CycleGAN
from lit_gen.networks import MLPDiscriminator, Translator
from lit_gen.optimizers import GANAdam
from style import GREY, label, panels

CLUSTERS, STD, STEPS, BATCH = 6, 0.06, 500, 96
SCALE, SHIFT = 0.7, torch.tensor([0.25, 0.1])
TERMS = {
    "all terms": {},
    "no identity": {"identity_factor": 0.0},
    "no cycle": {"cycle_weight": 0.0},
    "identity, no cycle": {"cycle_weight": 1e-3, "identity_factor": 5e3},
}


class PlaneTranslator(Translator):
    """Points of the plane to points of the plane, by an MLP that begins anywhere."""

    def __init__(self, image_shape: tuple[int, ...], width: int = 48) -> None:
        super().__init__(image_shape)
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 2)``."""
        return self.layers(x)


def domains(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unpaired points of a, a ring of clusters, and of b, a smaller one beside it, and the clusters of those of a."""
    clusters = torch.randint(CLUSTERS, (2, n))
    a, b = (around(of) + STD * torch.randn(n, 2) for of in clusters)
    return a, SCALE * b + SHIFT, clusters[0]


def around(clusters: Tensor) -> Tensor:
    """Means of these clusters of a."""
    angles = clusters * (2 * torch.pi / CLUSTERS)
    return torch.stack([angles.cos(), angles.sin()], 1)


class Result(NamedTuple):
    """Held-out points of a with their clusters, their translations, and three scores."""

    a: Tensor
    clusters: Tensor
    translated: Tensor
    reached: int  # clusters of b with at least 2 % of the translations within 3σ
    same: float  # share of points whose nearest cluster of b has their own number
    cycle_error: float  # mean |F(G(a)) − a|


def train(terms: str, steps: int = STEPS, seed: int = 0) -> Result:
    """The library's two objectives in turn, as its training step takes them, without pools."""
    torch.manual_seed(seed)
    model = CycleGAN((2,), PlaneTranslator, partial(MLPDiscriminator, width=48), LeastSquares(), **TERMS[terms])
    generators = [*model.generator_ab.parameters(), *model.generator_ba.parameters()]
    discriminators = [*model.discriminator_a.parameters(), *model.discriminator_b.parameters()]
    players = [GANAdam(parameters, lr=2e-3) for parameters in (generators, discriminators)]
    decays = [torch.optim.lr_scheduler.LinearLR(player, 1.0, 0.1, steps) for player in players]
    for _ in range(steps):
        a, b, _ = domains(BATCH)
        loss, _, (fake_a, fake_b) = model.generator_loss(a, b)
        step(players[0], loss)
        step(players[1], model.discriminator_loss(a, b, fake_a, fake_b)[0])
        for decay in decays:
            decay.step()
    return score(model)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def score(model: CycleGAN) -> Result:
    """What became of 600 new points of a."""
    a, _, clusters = domains(600)
    translated = model.generator_ab(a)
    distances = torch.cdist(translated, SCALE * around(torch.arange(CLUSTERS)) + SHIFT)
    nearest, good = distances.argmin(1), distances.amin(1) < 3 * SCALE * STD
    reached = int((nearest[good].bincount(minlength=CLUSTERS) >= 0.02 * len(a)).sum())
    error = (model.generator_ba(translated) - a).norm(dim=1).mean().item()
    return Result(a, clusters, translated, reached, (nearest == clusters).float().mean().item(), error)


def draw(seed: int = 0) -> tuple[Figure, str]:
    """The points of a, and their translations by each set of terms, in the colours of their clusters."""
    runs = [(terms, terms, seed) for terms in TERMS]
    runs.insert(2, ("no identity", "no identity, another seed", seed + 1))  # which map is found is a matter of chance
    figure, axes = panels(len(runs) + 1, width=2.3, height=2.9)
    told, means = [], SCALE * around(torch.arange(CLUSTERS)) + SHIFT
    for axis, (terms, name, of_run) in zip(axes[1:], runs, strict=True):
        found = train(terms, seed=of_run)
        axis.scatter(*found.translated.T, c=found.clusters, cmap="Dark2", s=3)
        scores = f"{found.reached} of {CLUSTERS} clusters, own {found.same:.0%}\ncycle error {found.cycle_error:.2f}"
        label(axis, name, scores)
        told.append(
            f"{name}: clusters {found.reached}, own cluster {found.same:.2f}, cycle error {found.cycle_error:.3f}"
        )
    axes[0].scatter(*found.a.T, c=found.clusters, cmap="Dark2", s=3)
    label(axes[0], "a (colours), and b's means (+)")
    for axis in axes:
        axis.plot(*means.T, "+", color="black" if axis is axes[0] else GREY, ms=8)
        axis.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), xticks=[], yticks=[], aspect="equal")
    return figure, "; ".join(told)
