"""log(1 − s(D)) has no slope where samples are rejected, −log s(D) has its greatest there: slopes over a training."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lit_gen.losses import AdversarialLoss, Minimax, NonSaturating
from lit_gen.metrics import wasserstein
from lit_gen.networks import MLPDiscriminator, MLPGenerator
from lit_gen.optimizers import GANAdam
from style import DATA, GREY, MODEL, label, panels

STEPS, BATCH = 500, 128
GAMES: dict[str, tuple[AdversarialLoss, str]] = {
    "log(1 − s(D))": (Minimax(), MODEL),
    "−log s(D)": (NonSaturating(), DATA),
}


def slopes(loss: AdversarialLoss, scores: Tensor) -> Tensor:
    """|∂L_G/∂t| of each sample's score t."""
    scores = scores.detach().requires_grad_()
    return torch.autograd.grad(len(scores) * loss.generator(scores), scores)[0].abs()


class Game(NamedTuple):
    """Per step: mean slope in the scores of both losses, and W₁ from data to samples; early and last scores."""

    slope: dict[str, list[float]]
    distance: list[float]
    early: Tensor
    late: Tensor


def play(loss: AdversarialLoss, steps: int = STEPS, seed: int = 0, head_start: int = 100, adam: bool = False) -> Game:
    """Data N(4, ½²) on a line; the generator begins near 0, after the discriminator's head start.

    Args:
        loss: Of both players.
        steps: Of each player in turn.
        seed: Of weights and samples.
        head_start: Steps of the discriminator before.
        adam: Whether the generator takes Adam's steps, which divide the gradient by its size, or plain ones.
    """
    torch.manual_seed(seed)
    generator = MLPGenerator((1,), 1, width=32, depth=1, bounded=False)
    discriminator = MLPDiscriminator((1,), width=32, depth=2)
    plain = torch.optim.SGD(generator.parameters(), lr=3e-2)
    moves = (
        GANAdam(generator.parameters(), lr=3e-3) if adam else plain,
        GANAdam(discriminator.parameters(), lr=3e-3),
    )
    game = Game({name: [] for name in GAMES}, [], torch.empty(0), torch.empty(0))
    for step in range(-head_start, steps):
        real = 4 + 0.5 * torch.randn(BATCH, 1)
        fake = generator(torch.randn(BATCH, 1))
        moves[1].zero_grad()
        loss.discriminator(discriminator(real), discriminator(fake.detach())).backward()
        moves[1].step()
        if step < 0:
            continue
        scores = discriminator(fake).flatten()
        for name, (other, _) in GAMES.items():
            game.slope[name].append(slopes(other, scores).mean().item())
        game.distance.append(wasserstein(real, fake.detach()).item())
        game = game._replace(late=scores.detach(), early=game.early if len(game.early) else scores.detach())
        moves[0].zero_grad()
        loss.generator(scores).backward()
        moves[0].step()
    return game


def draw(seed: int = 0) -> tuple[Figure, str]:
    """Both slopes by score, over one game's training, and how far each loss brings the samples."""
    figure, (left, middle, right) = panels(3)
    games = {name: play(loss, seed=seed) for name, (loss, _) in GAMES.items()}
    scores = torch.linspace(-8, 4, 121)
    told = []
    for name, (loss, colour) in GAMES.items():
        left.plot(scores, slopes(loss, scores), color=colour, label=f"slope of {name}")
        for others, style in ((name, "-"), (next(other for other in GAMES if other != name), ":")):
            middle.semilogy(games[name].slope[others], color=GAMES[others][1], ls=style, lw=1.2,
                            label=f"of {others} in the game of {name}")  # fmt: skip
        by_adam = play(loss, seed=seed, adam=True)
        right.plot(games[name].distance, color=colour, label=f"{name}, plain steps")
        right.plot(by_adam.distance, color=colour, ls=":", lw=1, label=f"{name}, Adam")
        of = games[name].slope[name]
        near = [next((i for i, d in enumerate(game.distance) if d < 1), None) for game in (games[name], by_adam)]
        told.append(
            f"{name}: slope {of[0]:.4f} at the first step, {sum(of[-50:]) / 50:.3f} in the last 50; W₁ "
            f"{games[name].distance[0]:.2f} to {games[name].distance[-1]:.2f}, below 1 at step {near[0]}, "
            f"by Adam at step {near[1]}"
        )
    game = games["−log s(D)"]
    height = torch.histc(game.early, 12, -8, 4), torch.histc(game.late, 12, -8, 4)
    for counts, colour, name in ((height[0], "black", "first step"), (height[1], GREY, "last step")):
        left.bar(torch.linspace(-7.5, 3.5, 12), counts / counts.sum(), 0.9, color=colour, alpha=0.25,
                 label=f"scores of samples, {name}")  # fmt: skip
    left.set_ylim(0, 1.6)
    label(left, "Slope in the score t = D(G(z))", "t")
    label(middle, "Mean slope over training", "step")
    middle.get_legend().set_loc("lower right")
    middle.set_ylim(bottom=1e-5)
    label(right, "W₁ from samples to data", "step")
    return figure, "; ".join(told)
