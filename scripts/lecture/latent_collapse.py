"""Which units of a deep VAE carry anything, by depth and remedy; and the linear VAE, whose collapse has a threshold."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
from matplotlib.figure import Figure
from torch import Tensor

import lit_gen
from datamodules import DigitsDataModule
from lit_gen.distributions import Gaussian
from lit_gen.losses import ELBO, LinearWarmUp
from lit_gen.metrics import LatentUnits
from lit_gen.models import VAE
from lit_gen.modules import HierarchicalVAE
from lit_gen.networks import BottomUp, Ladder, MLPDecoder, MLPEncoder
from style import COLOURS, GREY, label, panels

STEPS, UNITS, WIDTH, DEPTH = 500, 8, 64, 4
EIGENVALUES = torch.tensor([4.0, 2.5, 1.2, 0.5, 0.2], dtype=torch.float64)


def remedies(steps: int) -> dict[str, dict[str, Any]]:
    """Options of a HierarchicalVAE by name: what is done against collapse."""
    warm_up = ELBO(warm_up=LinearWarmUp(max(1, steps // 2)))
    return {
        "plain": {"hierarchy": BottomUp, "objective": ELBO()},
        "free bits": {"hierarchy": BottomUp, "objective": ELBO(free_bits=2.0)},
        "warm-up": {"hierarchy": BottomUp, "objective": warm_up},
        "BN, warm-up": {"hierarchy": partial(BottomUp, norm="batch"), "objective": warm_up},
        "ladder, BN, warm-up": {"hierarchy": partial(Ladder, norm="batch"), "objective": warm_up},
    }


def train(remedy: str, depth: int, steps: int = STEPS, seed: int = 0) -> list[dict[str, float]]:
    """Train on scikit-learn's digits (8 × 8); active units and KL of each layer on 500 of them, z₁ first."""
    L.seed_everything(seed, verbose=False)
    options = dict(remedies(steps)[remedy])
    hierarchy = partial(options.pop("hierarchy"), latent_dims=[UNITS] * depth, widths=[WIDTH] * depth)
    model = HierarchicalVAE((1, 8, 8), hierarchy, optimizer=partial(torch.optim.Adam, lr=2e-3), **options)
    data = DigitsDataModule(batch_size=64)
    lit_gen.fit(model, data, max_steps=steps, enable_progress_bar=False, limit_val_batches=0)
    images, _ = data.dataset("train").__getitems__(list(range(500)))
    return measure(model, data.to_float(images), seed)


@torch.no_grad()
def measure(model: HierarchicalVAE, images: Tensor, seed: int = 0) -> list[dict[str, float]]:
    """`LatentUnits` of each layer."""
    model.eval()
    noise = torch.randn(len(images), 10, model.noise_dim, generator=torch.Generator().manual_seed(seed))
    found = []
    for size, layer in zip(model.hierarchy.sizes, model.terms(model.observe(images), noise).layers, strict=True):
        metric = LatentUnits(size)
        metric.update(layer)
        found.append(metric.compute())
    return found


def points(n: int = 60) -> Tensor:
    """Points whose covariance is diagonal with exactly these eigenvalues, ``(n, 5)``."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, len(EIGENVALUES), generator=generator, dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / n)).T * EIGENVALUES.sqrt()


def linear_variances(variance: float, latent_dim: int = 5, seed: int = 0, iterations: int = 200) -> Sequence[float]:
    """Variances of the code's mean in its directions at a linear VAE's optimum, largest first; L-BFGS, exact bound."""
    torch.manual_seed(seed)
    likelihood = partial(Gaussian, sigma=math.sqrt(variance))
    networks = partial(MLPEncoder, depth=0), partial(MLPDecoder, depth=0)
    vae = VAE((len(EIGENVALUES),), latent_dim, *networks, likelihood).double()
    x, corners = points(), math.sqrt(latent_dim) * torch.eye(latent_dim, dtype=torch.float64)
    noise = torch.cat([corners, -corners]).expand(len(x), -1, -1)
    optimizer = torch.optim.LBFGS(vae.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss, _ = ELBO(samples=2 * latent_dim)(vae.terms(x, noise), 0)
        loss.backward()
        return loss

    optimizer.step(closure)
    # The code may be rotated within the plane of the active directions: the means' covariance tells them apart.
    means = vae.encoder(x)[0].detach()
    return torch.linalg.eigvalsh(means.T @ means / len(x)).flip(0).tolist()


def draw(seed: int = 0) -> tuple[Figure, str]:
    """Active units of each layer by depth, by remedy at the largest depth; and the linear VAE's over σ²."""
    figure, axes = panels(3, width=4.0)
    told: list[str] = []
    plain = {depth: train("plain", depth, seed=seed) for depth in range(1, DEPTH + 1)}
    deep = {name: plain[DEPTH] if name == "plain" else train(name, DEPTH, seed=seed) for name in remedies(STEPS)}
    for axis, runs in ((axes[0], {f"{depth}": run for depth, run in plain.items()}), (axes[1], deep)):
        for x, (name, layers) in enumerate(runs.items()):
            for t, layer in enumerate(layers):
                at = x + 0.18 * (t - (len(layers) - 1) / 2)
                axis.bar(
                    at,
                    layer["active_units"],
                    0.16,
                    color=COLOURS[t],
                    label=f"z{'₁₂₃₄'[t]}" if x == len(runs) - 1 else None,
                )
            told.append(f"{name}: active {[int(layer['active_units']) for layer in layers]}, KL "
                        f"{[round(layer['kl_nats'], 2) for layer in layers]} nats")  # fmt: skip
        axis.set_xticks(range(len(runs)), list(runs))
        axis.set_ylim(0, UNITS + 0.5)
    label(axes[0], "Plain chain: active units of 8, by depth", "stochastic layers", "active units")
    label(axes[1], "Four layers, by remedy", legend=False)
    axes[1].tick_params(axis="x", labelsize=7, rotation=15)
    variances = (0.1, 0.3, 0.8, 1.8, 3.2, 5.0)
    found = {variance: linear_variances(variance) for variance in variances}
    fine = torch.linspace(0.05, 5.2, 200)
    for i, eigenvalue in enumerate(EIGENVALUES):
        axes[2].plot(
            fine,
            (1 - fine / eigenvalue).clamp(min=0),
            color=GREY,
            lw=1,
            label="theory, max(0, 1 − σ²/λ)" if i == 0 else None,
        )
        axes[2].plot(
            variances,
            [values[i] for values in found.values()],
            "o",
            ms=4,
            color=COLOURS[i],
            label=f"λ = {eigenvalue:g}",
        )
    label(axes[2], "Linear VAE: variance of a unit's mean", "σ² of the likelihood")
    return figure, "\n  ".join(told)
