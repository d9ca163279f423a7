"""Mode coverage on the ring of 8 and the grid of 25 Gaussians, by PacGAN's protocol (arXiv:1712.04086), as a table.

    python scripts/experiments/modes.py                                      # every method, both mixtures, seeds 0 1 2
    python scripts/experiments/modes.py --methods RpGAN+R1+R2 --seeds 0 --every 500   # one of them, with its curve
    python scripts/experiments/modes.py --networks paper --methods GAN --steps 400000 # at the paper's length

Data are the paper's: z ~ N(0, I₂), 100,000 fixed training points. With `--networks small`, the default, every method
has the same networks (G and D of three layers of 128 units, no norm), batches of 256 points, number of batches and
learning rate, which falls linearly to 0 in the last quarter: they differ by loss, penalty and packing alone, and by
WGAN-GP's five critic steps for one of its generator and Adam (arXiv:1704.00028; λ = 0.1, as its authors' on toys).
RpGAN+R1+R2 is the loss and penalties of R3GAN (arXiv:2501.05441). `--networks paper` are PacGAN's, with its batches of
100 points, Adam and 400,000 batches at 1e-4, all constant; its generator's batch norm excludes RpGAN+R1+R2.

For every run 2,500 samples of the averaged generator (half-life 10,000 points): modes with a sample within 3σ
(Euclidean) of their mean, the share of such samples, KL of their histogram of modes to the uniform one in nats, and
processor and wall time of the training alone, the scoring of a curve included. The table gives mean ± standard
deviation over the seeds; "all in": the runs that reach every mode. Published are modes ± standard error over 10 runs,
HQ % and reverse KL, of the paper's networks and length.
"""

import argparse
import itertools
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from datamodules import MixtureDataModule
from lit_gen.losses import R1R2, GradientPenalty, RelativisticPairing
from lit_gen.metrics import MixtureCoverage
from lit_gen.modules import GAN, WGANGP
from lit_gen.networks import MaxoutMLPDiscriminator, MLPDiscriminator, MLPGenerator
from lit_gen.optimizers import GANAdam, WGANGPAdam
from lit_gen.schedulers import ConstantThenLinear

SAMPLES = 2_500
PUBLISHED = {
    ("GAN", "ring"): "6.3 ± 0.5, 98.2, 0.45",
    ("GAN", "grid"): "17.3 ± 0.8, 94.8, 0.70",
    ("PacGAN2", "ring"): "7.9 ± 0.1, 95.6, 0.07",
    ("PacGAN2", "grid"): "23.8 ± 0.7, 91.3, 0.13",
    ("PacGAN4", "ring"): "7.8 ± 0.1, 95.9, 0.07",
    ("PacGAN4", "grid"): "24.8 ± 0.2, 93.6, 0.04",
}
NETWORKS: dict[str, dict[str, Any]] = {
    "small": {
        "generator": partial(MLPGenerator, width=128, depth=3),
        "discriminator": partial(MLPDiscriminator, width=128, depth=3),
    },
    "paper": {
        "generator": partial(MLPGenerator, width=400, depth=4, norm="batch"),
        "discriminator": partial(MaxoutMLPDiscriminator, width=200, depth=3, pieces=5),
    },
}
BATCH = {"small": 256, "paper": 100}
STEPS = {"small": 12_000, "paper": 400_000}
RATES = {"small": {"ring": 1e-3, "grid": 2e-3}, "paper": {"ring": 1e-4, "grid": 1e-4}}
WEIGHTS = {"ring": 1e-3, "grid": 2e-2}  # of R1 and R2: as the square of the distances to be told apart
METHODS: dict[str, dict[str, Any]] = {
    "GAN": {},
    "PacGAN2": {"pack": 2},
    "PacGAN4": {"pack": 4},
    "WGAN-GP": {},
    "RpGAN+R1+R2": {"loss": RelativisticPairing()},
}


def build(method: str, kind: str, networks: str, steps: int, rate: float) -> GAN:
    """The model of a method, its learning rates made for so many batches."""
    options = {**NETWORKS[networks], **METHODS[method]}
    gan, adam = (WGANGP, WGANGPAdam) if method == "WGAN-GP" else (GAN, GANAdam)
    if networks == "paper" and method != "WGAN-GP":
        adam = partial(GANAdam, betas=(0.8, 0.999))
    if method == "RpGAN+R1+R2":
        options["penalty"] = R1R2(WEIGHTS[kind])
    if networks == "small":
        options |= {"penalty": GradientPenalty(0.1)} if method == "WGAN-GP" else {}
        for player, updates in (("generator", steps // (5 if method == "WGAN-GP" else 1)), ("discriminator", steps)):
            constant = 3 * updates // 4
            options[f"{player}_scheduler"] = partial(ConstantThenLinear, constant=constant, decay=updates - constant)
    optimizer = partial(adam, lr=rate)
    return gan((2,), latent_dim=2, generator_optimizer=optimizer, discriminator_optimizer=optimizer, **options)


def score(model: GAN, data: MixtureDataModule, seed: int) -> dict[str, Any]:
    """Modes, high quality and reverse KL of the averaged generator's samples."""
    coverage = MixtureCoverage(data.means, data.std)
    coverage.update(model.sample(SAMPLES, generator=torch.Generator().manual_seed(seed)).cpu())
    return coverage.compute()


class Curve(L.Callback):
    """Scores after each so many batches."""

    def __init__(self, every: int, seed: int) -> None:
        self.every, self.seed = every, seed
        self.found: dict[str, list[float]] = {"batches": [], "modes": [], "high_quality": [], "reverse_kl": []}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Score the batches that are due."""
        done = trainer.fit_loop.total_batch_idx + 1
        if done % self.every == 0:
            for name, value in {"batches": done, **score(pl_module, trainer.datamodule, self.seed)}.items():
                self.found[name].append(value)


def run_once(
    method: str, kind: str, seed: int, networks: str, steps: int | None, rate: float | None, every: int = 0
) -> dict[str, Any]:
    """Train once and score."""
    L.seed_everything(seed, verbose=False)
    steps, rate = steps or STEPS[networks], rate or RATES[networks][kind]
    model = build(method, kind, networks, steps, rate)
    data = MixtureDataModule(kind=kind, batch_size=BATCH[networks])
    curve = Curve(every, seed)
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=-1,
        devices=1,
        callbacks=[curve] if every else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.fit(model, data)
    times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    run = {"method": method, "mixture": kind, "seed": seed, "networks": networks, "steps": steps, "rate": rate}
    return {**run, **score(model, data, seed), **times, **({"curve": curve.found} if every else {})}


def row(method: str, kind: str, runs: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over the seeds, as a line of the table."""

    def cell(key: str, digits: int, factor: float = 1.0) -> str:
        values = factor * torch.tensor([run[key] for run in runs], dtype=torch.float64)
        spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
        return f"{values.mean():.{digits}f}{spread}"

    total = 8 if kind == "ring" else 25
    complete = sum(run["modes"] == total for run in runs)
    scores = [cell("modes", 1), f"{complete} of {len(runs)}", cell("high_quality", 1, 100), cell("reverse_kl", 3)]
    steps = "/".join(sorted({f"{run['steps']:,}" for run in runs}))
    cells = [method, f"{kind} {total}", steps, *scores, cell("cpu", 0), cell("wall", 0)]
    return " | ".join(["", *cells, PUBLISHED.get((method, kind), ""), ""]).strip()


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--mixtures", nargs="+", choices=["ring", "grid"], default=["ring", "grid"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--networks", choices=NETWORKS, default="small")
    parser.add_argument("--steps", type=int, help=f"batches; by default {STEPS}")
    parser.add_argument("--learning-rate", type=float, help=f"by default {RATES}")
    parser.add_argument("--every", type=int, default=0, help="score after each so many batches, too")
    parser.add_argument("--results", type=Path, help="JSON lines: runs that it holds aren't repeated, others are added")
    arguments = parser.parse_args()
    if arguments.networks == "paper" and "RpGAN+R1+R2" in arguments.methods:
        parser.error("--methods RpGAN+R1+R2: its penalties don't take the batch norm of --networks paper")
    with tempfile.TemporaryDirectory() as folder:
        results = arguments.results or Path(folder) / "results.jsonl"
        results.touch()
        for seed, kind, method in itertools.product(arguments.seeds, arguments.mixtures, arguments.methods):
            held = [json.loads(line) for line in results.read_text().splitlines()]
            if not any((run["method"], run["mixture"], run["seed"]) == (method, kind, seed) for run in held):
                settings = (arguments.networks, arguments.steps, arguments.learning_rate, arguments.every)
                record = run_once(method, kind, seed, *settings)
                with results.open("a") as file:
                    file.write(json.dumps(record) + "\n")
        held = [json.loads(line) for line in results.read_text().splitlines()]
    columns = ["method", "mixture", "batches", "modes", "all in", "HQ %", "reverse KL", "CPU s", "wall s", "published"]
    print("", *columns, "", sep=" | ")
    print("|" + "---|" * len(columns))
    for kind, method in itertools.product(arguments.mixtures, arguments.methods):
        runs = [run for run in held if (run["method"], run["mixture"]) == (method, kind)]
        if runs:
            print(row(method, kind, runs))


if __name__ == "__main__":
    main()
