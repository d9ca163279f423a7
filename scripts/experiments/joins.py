"""Lets a discriminator join an autoencoder's loss, trained from the first step or untrained, as a table over seeds.

    python scripts/experiments/joins.py --seeds 20
    python scripts/experiments/joins.py --seeds 3 --steps 600 --precisions 32-true --json joins.json

A small `AutoencoderKL` on the embedded digits, of 2 x 2 positions and 2 channels, which are too few for sharp images.
The discriminator joins after half of the steps, over a ramp of a quarter; the autoencoders of a seed are the same until
then. "never" has none, which tells what the second half brings by itself. Scores are of the 300 validation images:
rfd_digits_300 when it joins and at the end, mean ± standard deviation over seeds, their ratio (geometric mean), in how
many seeds it has fallen, and is below that of "never" at the end, and how many runs have a value that is not finite.
"""

import argparse
import json
import math
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from datamodules import DigitsDataModule
from lit_gen import AutoencoderKL, fit
from lit_gen.callbacks import EvaluateReconstruction
from lit_gen.networks import ConvDecoder, ConvEncoder, GaussianBottleneck, PatchGAN
from lit_gen.optimizers import AutoencoderAdam

BATCH = 32
SCORE = "val/rfd_digits_300"


class EntersUntrained(AutoencoderKL):
    """With the published code's order: no step of the discriminator before it joins."""

    def update(self, name: Any, objective: Any, *inputs: Any) -> Any:
        """All players' but the discriminator's before it joins."""
        if name == "discriminator" and self.images_seen < self.adversarial_start:
            return None
        return super().update(name, objective, *inputs)


ROWS: dict[str, tuple[type[AutoencoderKL], dict[str, Any]]] = {
    "from the first step": (AutoencoderKL, {}),
    "enters untrained": (EntersUntrained, {}),
    "never": (AutoencoderKL, {"discriminator": None}),
}


class Keep(L.Callback):
    """The score of each validation."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Behind the callback that scores."""
        self.found.append(float(trainer.callback_metrics[SCORE]))


def run(row: str, precision: str, seed: int, steps: int) -> dict[str, Any]:
    """The scores of one run, or what it stopped with."""
    L.seed_everything(seed, verbose=False)
    kind, options = ROWS[row]
    data, networks = DigitsDataModule(batch_size=BATCH), {"widths": (8, 16, 32), "blocks": 1, "groups": 4}
    model = kind(
        data.image_shape,
        partial(GaussianBottleneck, channels=2, kl_weight=1e-3),
        partial(ConvEncoder, **networks, attention=False),
        partial(ConvDecoder, **networks, attention=False),
        adversarial_start=steps // 2 * BATCH,
        adversarial_ramp=steps // 4 * BATCH,
        autoencoder_optimizer=partial(AutoencoderAdam, lr=2e-3),
        **({"discriminator": partial(PatchGAN, receptive_field=16, width=16)} | options),
    )
    keep = Keep()
    trainer = {"precision": precision, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer |= {"check_val_every_n_epoch": None, "val_check_interval": steps // 2, "num_sanity_val_steps": 0}
    try:
        fit(model, data, max_steps=steps, callbacks=[EvaluateReconstruction(), keep], **trainer)
    except ValueError as error:  # training diverged
        return {"stopped": str(error), "scores": keep.found}
    finite = all(bool(p.isfinite().all()) for p in model.parameters())
    return {"scores": keep.found, "finite": finite and all(map(math.isfinite, keep.found))}


def cells(runs: list[dict[str, Any]], controls: list[dict[str, Any]]) -> list[str]:
    """A row of the table."""
    whole = [i for i, result in enumerate(runs) if result.get("finite")]
    joining, end = ([runs[i]["scores"][k] for i in whole] for k in (0, -1))
    if not whole:
        return [f"{len(runs)} of {len(runs)}"]
    ratio = math.exp(statistics.fmean(math.log(b / a) for a, b in zip(joining, end, strict=True)))
    fallen = sum(b < a for a, b in zip(joining, end, strict=True))
    below = [runs[i]["scores"][-1] < controls[i]["scores"][-1] for i in whole if controls and controls[i].get("finite")]
    spread = [f"{statistics.fmean(x):.2f} ± {statistics.stdev(x) if len(x) > 1 else 0:.2f}" for x in (joining, end)]
    against = f"{sum(below)} of {len(below)}" if below else "–"
    return [*spread, f"{ratio:.2f}", f"{fallen} of {len(whole)}", against, f"{len(runs) - len(whole)} of {len(runs)}"]


def main() -> None:
    """Train, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="their number")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--precisions", nargs="+", choices=["32-true", "bf16-mixed"], default=["32-true", "bf16-mixed"])
    parser.add_argument("--json", type=Path, help="a file for the scores")
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {f"{r}, {p}": [] for p in arguments.precisions for r in reversed(ROWS)}
    for seed in range(arguments.seeds):  # outermost, so that whatever has been run so far compares the same seeds
        for precision in arguments.precisions:
            for row in reversed(ROWS):
                results[f"{row}, {precision}"].append(run(row, precision, seed, arguments.steps))
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1))
    names = ["joins", "end", "ratio", "fallen", 'below "never"', "not finite"]
    print("| discriminator trained | precision |", " | ".join(names), "|")
    print("|---" * (2 + len(names)) + "|")
    for key, runs in results.items():
        row, _, precision = key.rpartition(", ")
        controls = [] if row == "never" else results[f"never, {precision}"]
        print(f"| {row} | {precision} |", " | ".join(cells(runs, controls)), "|")


if __name__ == "__main__":
    main()
