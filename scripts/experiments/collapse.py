"""Latent variable collapse: trains five stochastic layers on MNIST in several ways and prints what each layer holds.

    python scripts/experiments/collapse.py --root runs/collapse
    python scripts/experiments/collapse.py --root runs/collapse --rows plain ladder --data.root data \\
        --data.download false

Each row is a ``lit-gen fit`` of a shipped config with a few options. Its results stay in ``ROOT/ROW/result.json``, and
a row that has one isn't trained again, so that rows can run in separate processes; a last call prints them all.

Measured on the test images, binarised once. On all of them: active units of each layer, those with a mean KL above 0.01
nats (Sønderby et al. 2016) and those with Var_x(E_q[z]) > 0.01 (Burda et al. 2016), and the layers' KL in nats, with 10
samples an image. On N of them: log p(x) by importance sampling, and I_q(x; z_t, …, z_T) in nats, at most log N.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from datamodules import MNISTDataModule
from lit_gen import HierarchicalVAE
from lit_gen.metrics.likelihood.importance import importance_sampling
from lit_gen.metrics.likelihood.information import layer_information
from lit_gen.metrics.likelihood.latent import LatentUnits

BATCH_NORM = ["--model.hierarchy.norm=batch"]
WARM_UP = ["--model.objective.warm_up=LinearWarmUp", "--model.objective.warm_up.updates={warm_up}"]
TOP_DOWN = [
    "--model.hierarchy=TopDown",
    "--model.hierarchy.latent_dims=[64,32,16,8,4]",
    "--model.hierarchy.widths=[512,256,128,64,32]",
]
ROWS = {
    "plain": ("bottom-up", ["--config=bottom_up_vae_mnist"]),
    "batch_norm": ("bottom-up + BN", ["--config=bottom_up_vae_mnist", *BATCH_NORM]),
    "warm_up": ("bottom-up + BN + warm-up", ["--config=bottom_up_vae_mnist", *BATCH_NORM, *WARM_UP]),
    "free_bits": (
        "bottom-up + BN + free bits (1 nat a layer)",
        ["--config=bottom_up_vae_mnist", *BATCH_NORM, "--model.objective.free_bits=1"],
    ),
    "ladder": ("ladder + BN + warm-up", ["--config=ladder_vae_mnist", *WARM_UP]),
    "top_down": ("top-down + BN + warm-up", ["--config=ladder_vae_mnist", *TOP_DOWN, *BATCH_NORM, *WARM_UP]),
}
STEPS_PER_EPOCH = 214  # of 256 images
CHUNK = 100  # images or samples at once


def train(row: str, arguments: argparse.Namespace) -> float:
    """Train a row by the command; its seconds of CPU time."""
    options = [f"--experiment={row}", f"--trainer.default_root_dir={arguments.root}"]
    options += [f"--seed_everything={arguments.seed}", f"--data.root={arguments.data_root}"]
    steps = arguments.epochs * STEPS_PER_EPOCH
    options += [f"--data.download={arguments.data_download}", f"--trainer.max_steps={steps}"]
    options += [f"--trainer.val_check_interval={steps}"]
    own = [option.format(warm_up=steps // 10) for option in ROWS[row][1]]
    before = os.times()
    subprocess.run([sys.executable, "-m", "lit_gen", "fit", *own, *options], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_images(module: HierarchicalVAE, arguments: argparse.Namespace) -> Tensor:
    """The test images as the likelihood models them, binarised by a fixed seed."""
    data = MNISTDataModule(root=arguments.data_root, download=arguments.data_download == "true")
    data.prepare_data()
    images, _ = data.dataset("test").__getitems__(list(range(10_000)))
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    return module.likelihood.observe(data.to_float(images), noise)


@torch.no_grad()
def measure(checkpoint: Path, arguments: argparse.Namespace) -> dict:
    """The numbers of a row."""
    module = HierarchicalVAE.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()
    x, generator = test_images(module, arguments), torch.Generator().manual_seed(1)

    def noise(n: int, samples: int) -> Tensor:
        return torch.randn(n, samples, module.noise_dim, generator=generator)

    units = [LatentUnits(size) for size in module.hierarchy.sizes]
    for part in x.split(CHUNK):
        for metric, layer in zip(units, module.terms(part, noise(len(part), 10)).layers, strict=True):
            metric.update(layer)
    values = [metric.compute() for metric in units]
    some = x[:: len(x) // arguments.images][: arguments.images]
    likelihoods = [
        importance_sampling(
            lambda epsilon, part=part: module.terms(part, epsilon).log_weights,  # type: ignore[misc]
            lambda k, part=part: noise(len(part), k),  # type: ignore[misc]
            arguments.samples,
            CHUNK,
        ).log_likelihood
        for part in some.split(CHUNK)
    ]
    return {
        "active_units_kl": [int(value["active_units_kl"]) for value in values],
        "active_units_variance": [int(value["active_units"]) for value in values],
        "kl_nats": [value["kl_nats"] for value in values],
        "information_nats": layer_information(module.hierarchy, some, generator=generator),
        f"nll_is{arguments.samples}": -torch.cat(likelihoods).mean().item(),
        "images": arguments.images,
        "epochs": module.updates["vae"] / STEPS_PER_EPOCH,
    }


def print_table(root: Path) -> None:
    """All rows measured so far."""
    results = {row: json.loads(path.read_text()) for row in ROWS if (path := root / row / "result.json").exists()}
    nll = next(name for result in results.values() for name in result if name.startswith("nll"))
    columns = ["model", "active units (KL)", "(Var)", "KL, nats", "I(x; z_t, …), nats", f"{nll}_dynamic", "CPU time"]
    print("|", " | ".join(columns), "|")
    print("|" + "---|" * len(columns))
    for row, result in results.items():
        layers = [
            "/".join(f"{round(value, 1) + 0.0:.1f}" for value in result[name])
            for name in ("kl_nats", "information_nats")
        ]
        units = ["/".join(map(str, result[f"active_units_{by}"])) for by in ("kl", "variance")]
        cells = [*units, *layers, f"{result[nll]:.2f}", f"{result['cpu_seconds']:.0f} s"]
        print("|", " | ".join([ROWS[row][0], *cells]), "|")


def main() -> None:
    """Train what is missing, measure it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/collapse"), help="folder of the runs and results")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS), help="none only prints the table")
    parser.add_argument("--epochs", type=int, default=20, help="the warm-up takes a tenth of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=500, help="importance samples an image")
    parser.add_argument("--images", type=int, default=500, help="N")
    parser.add_argument("--data.root", dest="data_root", default="data")
    parser.add_argument("--data.download", dest="data_download", default="true", choices=["true", "false"])
    arguments = parser.parse_args()
    for row in arguments.rows:
        file = arguments.root / row / "result.json"
        if not file.exists():
            seconds = train(row, arguments)
            checkpoint = max((arguments.root / row).glob("*/checkpoints/last.ckpt"))
            file.write_text(json.dumps({**measure(checkpoint, arguments), "cpu_seconds": seconds}))
    print_table(arguments.root)


if __name__ == "__main__":
    main()
