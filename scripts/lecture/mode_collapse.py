"""Five games on a ring of 8 and a grid of 25 Gaussians, on the same small networks: where samples are over training."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from matplotlib.figure import Figure
from torch import Tensor

import lit_gen
from datamodules import MixtureDataModule
from lit_gen.losses import R1R2, GradientPenalty, RelativisticPairing
from lit_gen.metrics import MixtureCoverage
from lit_gen.models.unrolled import UnrolledAdam
from lit_gen.modules import GAN, WGANGP
from lit_gen.networks import MLPDiscriminator, MLPGenerator
from lit_gen.optimizers import GANAdam
from lit_gen.schedulers import ConstantThenLinear
from style import DATA, MODEL, panels

SAMPLES = 1_000
STD = {"ring": 0.05, "grid": 0.1}


class Recipe(NamedTuple):
    """One way to train: its class and options, learning rates of G and of D, and how many batches it gets."""

    gan: type[GAN]
    options: dict[str, Any]
    rates: tuple[float, float]
    steps: int


SLOW = 2e-4  # of a discriminator that its generator, at 2e-3, outruns
METHODS = {
    "GAN": Recipe(GAN, {}, (2e-3, SLOW), 1200),
    "unrolled GAN": Recipe(GAN, {"unroll": UnrolledAdam(5, lr=SLOW)}, (2e-3, SLOW), 600),
    "PacGAN3": Recipe(GAN, {"pack": 3}, (2e-3, SLOW), 1200),
    "WGAN-GP": Recipe(WGANGP, {"n_critic": 3, "penalty": GradientPenalty(0.1)}, (1e-3, 1e-3), 1500),
    "RpGAN + R₁ + R₂": Recipe(GAN, {"loss": RelativisticPairing()}, (2e-3, 2e-3), 1000),
}
PENALTY = {"ring": 1e-2, "grid": 2e-2}


class Strip(L.Callback):
    """Keeps samples of the generator after the given numbers of batches."""

    def __init__(self, at: Sequence[int]) -> None:
        self.at, self.samples = list(at), []

    def take(self, model: GAN) -> None:
        """Draw from fixed noise."""
        self.samples.append(model.sample(SAMPLES, generator=torch.Generator().manual_seed(0)))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *arguments: Any) -> None:
        """After the batch, if it is one of them."""
        del arguments
        if trainer.global_step in self.at:
            self.take(pl_module)


class Outcome(NamedTuple):
    """Samples over training, and the scores of the last ones."""

    steps: list[int]
    samples: list[Tensor]
    scores: dict[str, float]


def train(method: str, kind: str, seed: int = 0, share: float = 1.0, shots: int = 4) -> Outcome:
    """Train one method on one mixture for a share of its batches."""
    L.seed_everything(seed, verbose=False)
    recipe = METHODS[method]
    steps = max(shots, round(share * recipe.steps))
    data = MixtureDataModule(kind=kind, std=STD[kind], num_points=20_000, batch_size=126)
    options = dict(recipe.options)
    if "loss" in options:
        options["penalty"] = R1R2(PENALTY[kind])
    betas = (0.0, 0.9) if recipe.gan is WGANGP else (0.5, 0.99)
    schedule = partial(ConstantThenLinear, constant=3 * steps // 4, decay=steps)
    model = recipe.gan(
        (2,),
        latent_dim=2,
        generator=partial(MLPGenerator, width=64, depth=2, bounded=False),
        discriminator=partial(MLPDiscriminator, width=64, depth=2),
        generator_optimizer=partial(GANAdam, lr=recipe.rates[0], betas=betas),
        discriminator_optimizer=partial(GANAdam, lr=recipe.rates[1], betas=betas),
        generator_scheduler=schedule,
        discriminator_scheduler=schedule,
        ema_half_life=None,
        **options,
    )
    at = [round(steps * (i + 1) / shots) for i in range(shots)]
    strip = Strip(at)
    lit_gen.fit(model, data, max_steps=steps, callbacks=[strip], enable_progress_bar=False, limit_val_batches=0)
    coverage = MixtureCoverage(data.means, data.std)
    coverage.update(strip.samples[-1])
    return Outcome(at, strip.samples, coverage.compute())


def draw(seed: int = 0) -> tuple[Figure, str]:
    """A row a method, a column a moment, for the ring on the left and the grid on the right."""
    shots, told = 4, []
    figure, axes = panels(2 * shots, len(METHODS), width=1.35, height=1.45)
    for row, method in enumerate(METHODS):
        for block, kind in enumerate(("ring", "grid")):
            outcome, size = train(method, kind, seed, shots=shots), {"ring": 1.5, "grid": 5.2}[kind]
            means, total = MixtureDataModule(kind=kind).means, {"ring": 8, "grid": 25}[kind]
            for column, (step, samples) in enumerate(zip(outcome.steps, outcome.samples, strict=True)):
                axis = axes[row, shots * block + column]
                axis.plot(*means.T, "+", color=DATA, ms=4, mew=0.8)
                axis.plot(*samples.T, ".", color=MODEL, ms=1.2, alpha=0.5)
                axis.set(xlim=(-size, size), ylim=(-size, size), xticks=[], yticks=[], aspect="equal")
                last = column == shots - 1
                found = f"{outcome.scores['modes']:.0f} of {total}, {outcome.scores['high_quality']:.0%}"
                axis.set_title(found if last else f"step {step}", fontsize=7, weight="bold" if last else None)
            scores = "modes {modes}, HQ {high_quality:.3f}, reverse KL {reverse_kl:.3f}".format(**outcome.scores)
            told.append(f"{method}, {kind}: {scores}, {outcome.steps[-1]} batches")
        axes[row, 0].set_ylabel(method, fontsize=8)
    return figure, "\n  ".join(told)
