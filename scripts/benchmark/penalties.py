"""What a penalty adds to a critic's step at 32 pixels, batch 16, bf16-mixed: `scripts/benchmark penalties` calls it.

The residual critic of WGAN-GP with none, the exact `R1R2` and `FiniteDifference` takes turns in short stretches of one
process. CPU time of this process.
"""

import statistics
import tempfile
from functools import partial
from pathlib import Path

from lit_gen import GAN
from lit_gen.losses import R1R2, FiniteDifference
from lit_gen.networks import ResNetDiscriminator, ResNetGenerator
from measure import interleaved
from rows import Noise, Row, peers
from steps import ours

SIDES = {
    "none": None,
    "R1R2": R1R2(),
    "R1R2(direct=False)": R1R2(direct=False),
    "FiniteDifference": FiniteDifference(),
    "FiniteDifference(full_precision=False)": FiniteDifference(full_precision=False),
}


def penalties(rounds: int) -> None:
    """Print medians over the rounds of each side, and what each adds in units of what the exact penalty adds."""
    with tempfile.TemporaryDirectory() as folder:
        sides = {}
        for name, penalty in SIDES.items():
            row = Row(
                partial(
                    GAN, (3, 32, 32), generator=ResNetGenerator, discriminator=ResNetDiscriminator, n_critic=10**9,
                    penalty=penalty,
                ),
                lambda folder: Noise(32, batch_size=16),
                peers.critic,
                batch=16,
                steps=4,
            )  # fmt: skip
            sides[name] = lambda row=row: ours(row, Path(folder), "cpu", False).cpu  # type: ignore[misc]
        medians = {name: statistics.median(each) for name, each in interleaved(sides, rounds).items()}
    exact = medians["R1R2"] - medians["none"]
    for name, seconds in medians.items():
        added = (seconds - medians["none"]) / exact
        print(f"{name}: {1000 * seconds:.0f} ms a step, the penalty {added:.2f} times R1R2's")
