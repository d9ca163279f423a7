"""Puts trained models among the shipped ones, with a card that says what they are, and pins their hashes.

    python scripts/ship_pretrained.py gan_digits=runs/gan_digits/<time>@<commit> …

Each run's last.ckpt is taken, its config.yaml tells the data and the seed, its metrics.csv the last scores; the commit
is that of the training.
"""

import csv
import hashlib
import shutil
import sys
from pathlib import Path

import torch
import yaml

from lit_gen import from_pretrained, save_pretrained
from lit_gen.callbacks.record import training_facts
from lit_gen.pretrained.shipped import PRETRAINED
from lit_gen.pretrained.stored import HASHES

LARGEST = 4_000_000  # bytes of one model
HALF_BEYOND = 2_000_000  # bytes of float32, beyond which matrices are kept in float16
LARGEST_OF_ALL = 24_000_000


def last_scores(run: Path) -> dict[str, float]:
    """The last value of every column ``val/…``."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("val/")]
    return {name: next(float(row[name]) for row in reversed(rows) if row[name]) for name in names}


def ship(name: str, run: Path, commit: str) -> None:
    """Write one model's folder, in the place of an older one."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    data = config["data"]["class_path"].rpartition(".")[2]
    training = {"config": name, "steps": config["trainer"]["max_steps"], "seed": config["seed_everything"]}
    facts = training_facts(data, training, last_scores(run), "validation split")
    facts |= {"commit": commit, "licence": "apache-2.0"}
    shutil.rmtree(PRETRAINED / name, ignore_errors=True)
    model = from_pretrained(run / "checkpoints" / "last.ckpt")
    size = sum(4 * p.numel() for p in model.parameters())
    save_pretrained(model, PRETRAINED / name, facts, dtype=torch.float16 if size > HALF_BEYOND else None)
    size = sum(path.stat().st_size for path in (PRETRAINED / name).iterdir())
    if size > LARGEST:
        shutil.rmtree(PRETRAINED / name)
        raise SystemExit(f"{name}: {size:,} bytes, more than {LARGEST:,}")
    print(f"{name}: {size:,} bytes, {facts.get('scores')}")


def main() -> None:
    PRETRAINED.mkdir(exist_ok=True)
    for argument in sys.argv[1:]:
        name, _, rest = argument.partition("=")
        run, _, commit = rest.rpartition("@")
        ship(name, Path(run), commit)
    files = sorted(path for path in PRETRAINED.glob("*/*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    if total > LARGEST_OF_ALL:
        raise SystemExit(f"all models: {total:,} bytes, more than {LARGEST_OF_ALL:,}")
    digests = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(PRETRAINED).as_posix()}" for p in files]
    (PRETRAINED / HASHES).write_text("\n".join(digests) + "\n")


if __name__ == "__main__":
    main()
