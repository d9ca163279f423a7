"""Mode coverage on the ring of 8 and the grid of 25 Gaussians, by PacGAN's protocol (arXiv:1712.04086), as a table.

    python scripts/experiments/modes.py                                      # every method, both mixtures, seeds 0 1 2
    python scripts/experiments/modes.py --methods RpGAN+R1+R2 --seeds 0      # one of them

GAN, PacGAN2, PacGAN4 and WGAN-GP have the paper's networks, z ~ N(0, I₂), 100,000 fixed training points, batches of 100
points and Adam; the paper trains 400,000 batches at a learning rate of 1e-4, of which `--share` is taken here, at
`--learning-rate`. WGAN-GP has the same networks and the other settings of arXiv:1704.00028. RpGAN+R1+R2 (the loss and
penalties of R3GAN, arXiv:2501.05441) has its own small networks and number of steps, and a learning rate that falls
linearly to 0 in the last quarter.

For every run 2,500 samples of the averaged generator (half-life 10,000 points): modes with a sample within 3σ
(Euclidean) of their mean, the share of such samples, KL of their histogram of modes to the uniform one in nats, and
processor and wall time of the training alone. The table gives mean ± standard deviation over the seeds; "all in": the
runs that reach every mode. Published are modes ± standard error over 10 runs, HQ % and reverse KL.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from datamodules import MixtureDataModule
from lit_gen.losses import R1R2, RelativisticPairing
from lit_gen.metrics import MixtureCoverage
from lit_gen.modules import GAN, WGANGP
from lit_gen.networks import MaxoutMLPDiscriminator, MLPDiscriminator, MLPGenerator
from lit_gen.optimizers import GANAdam, WGANGPAdam
from lit_gen.schedulers import ConstantThenLinear

PAPER_STEPS = 400_000  # 400 epochs of 1,000 batches
SAMPLES = 2_500
PACGAN_ADAM = partial(GANAdam, betas=(0.8, 0.999))
PUBLISHED = {
    ("GAN", "ring"): "6.3 ± 0.5, 98.2, 0.45",
    ("GAN", "grid"): "17.3 ± 0.8, 94.8, 0.70",
    ("PacGAN2", "ring"): "7.9 ± 0.1, 95.6, 0.07",
    ("PacGAN2", "grid"): "23.8 ± 0.7, 91.3, 0.13",
    ("PacGAN4", "ring"): "7.8 ± 0.1, 95.9, 0.07",
    ("PacGAN4", "grid"): "24.8 ± 0.2, 93.6, 0.04",
}
Recipe = Callable[[str, float, float], tuple[GAN, int, int]]  # (mixture, share, lr) -> model, steps, batch size


def published(
    kind: str,
    share: float,
    lr: float,
    gan: type[GAN] = GAN,
    adam: Callable = PACGAN_ADAM,
    **options: Any,
) -> tuple[GAN, int, int]:
    """The paper's networks: G 400x4 with batch norm, D 3 maxout layers of 200 units of 5 pieces."""
    model = gan(
        (2,),
        latent_dim=2,
        generator=partial(MLPGenerator, width=400, depth=4, norm="batch"),
        discriminator=partial(MaxoutMLPDiscriminator, width=200, depth=3, pieces=5),
        generator_optimizer=partial(adam, lr=lr),
        discriminator_optimizer=partial(adam, lr=lr),
        **options,
    )
    return model, round(share * PAPER_STEPS), 100


def relativistic(kind: str, share: float, lr: float) -> tuple[GAN, int, int]:
    """RpGAN with R1 and R2. The penalty's weight goes with the square of the distances to be told apart."""
    weight, steps, own_lr = {"ring": (1e-3, 6_000, 1e-3), "grid": (2e-2, 12_000, 2e-3)}[kind]
    adam = partial(GANAdam, lr=own_lr)
    schedule = partial(ConstantThenLinear, constant=3 * steps // 4, decay=steps // 4)
    model = GAN(
        (2,),
        latent_dim=2,
        generator=partial(MLPGenerator, width=128, depth=3),
        discriminator=partial(MLPDiscriminator, width=128, depth=3),
        loss=RelativisticPairing(),
        penalty=R1R2(weight),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        generator_scheduler=schedule,
        discriminator_scheduler=schedule,
    )
    return model, steps, 256


METHODS: dict[str, Recipe] = {
    "GAN": published,
    "PacGAN2": partial(published, pack=2),
    "PacGAN4": partial(published, pack=4),
    "WGAN-GP": partial(published, gan=WGANGP, adam=WGANGPAdam),
    "RpGAN+R1+R2": relativistic,
}


def run_once(method: str, kind: str, seed: int, share: float, lr: float) -> dict[str, Any]:
    """Train once and score."""
    L.seed_everything(seed, verbose=False)
    model, steps, batch_size = METHODS[method](kind, share, lr)
    data = MixtureDataModule(kind=kind, batch_size=batch_size)
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=-1,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.fit(model, data)
    times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    coverage = MixtureCoverage(data.means, data.std)
    coverage.update(model.sample(SAMPLES, generator=torch.Generator().manual_seed(seed)).cpu())
    return {"method": method, "mixture": kind, "seed": seed, "steps": steps, **coverage.compute(), **times}


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
    parser.add_argument("--share", type=float, default=0.004, help="of the paper's 400,000 batches")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the methods that --share shortens")
    parser.add_argument("--results", type=Path, help="JSON lines: runs that it holds aren't repeated, others are added")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = arguments.results or Path(folder) / "results.jsonl"
        results.touch()
        for seed, kind, method in itertools.product(arguments.seeds, arguments.mixtures, arguments.methods):
            held = [json.loads(line) for line in results.read_text().splitlines()]
            if not any((run["method"], run["mixture"], run["seed"]) == (method, kind, seed) for run in held):
                record = run_once(method, kind, seed, arguments.share, arguments.learning_rate)
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
