"""What an augmentation adds to a training step of DCGAN at 32 pixels: `scripts/benchmark augmentation` calls it.

The same game with none, DiffAugment and ADA takes turns in short stretches of one process. CPU time of this process.
"""

import statistics
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from lit_gen.modules import ADA, DiffAugment
from measure import interleaved
from rows import ROWS
from steps import ours

SIDES = {"none": None, "DiffAugment": DiffAugment(), "ADA, p = 0.5": ADA(p=0.5), "ADA bgcfnc": ADA("bgcfnc", p=0.5)}


def augmentation(rounds: int) -> None:
    """Print medians over the rounds of each side, and how much each adds."""
    row = ROWS["dcgan_32"]
    with tempfile.TemporaryDirectory() as folder:
        sides = {}
        for name, option in SIDES.items():
            with_it = replace(row, module=partial(row.module, augmentation=option))
            sides[name] = lambda with_it=with_it: ours(with_it, Path(folder), "cpu", False).cpu  # type: ignore[misc]
        medians = {name: statistics.median(each) for name, each in interleaved(sides, rounds).items()}
    for name, seconds in medians.items():
        print(f"{name}: {1000 * seconds:.1f} ms a step, {seconds / medians['none'] - 1:+.1%}")
