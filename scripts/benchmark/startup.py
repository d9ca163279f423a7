"""What it costs to have a trained model, beside PyTorch's own import: `scripts/benchmark startup` calls it.

Each in a process of its own, in turns; processor seconds of the whole process, of all its threads.
"""

import statistics
import subprocess
import sys
from functools import partial

from measure import interleaved

CPU_SECONDS = "; import time; print(time.process_time())"
LOADED = "import torch, lit_gen; lit_gen.from_pretrained({})"
LIST = "import sys; from lit_gen.__main__ import main; sys.argv = ['lit-gen', 'list']; main()"
SIDES = {
    "import torch": "import torch",
    "a shipped decoder": LOADED.format("'vae_digits', part='decoder'"),
    "a shipped generator": LOADED.format("'dcgan_mnist', part='generator'"),
    "a shipped model": LOADED.format("'dcgan_mnist', training=False"),
    "a shipped model to train on": LOADED.format("'dcgan_mnist', training=True"),
    "import lightning.pytorch": "import lightning.pytorch",
    "lit-gen list": LIST,
}


def startup(rounds: int) -> None:
    """Print medians over the rounds, and what each is beyond PyTorch's import."""
    seconds = interleaved({name: partial(_seconds, code) for name, code in SIDES.items()}, rounds)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.2f} s, {median - medians['import torch']:+.2f} s")


def _seconds(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code + CPU_SECONDS], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
