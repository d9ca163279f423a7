"""What many pictures cost to load, beside others' loaders of the same files: `scripts/benchmark scale` calls it."""

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.conversion.parts import Done, Finished
from datamodules.conversion.targets import WRITERS, Kind
from datamodules.shard_writer import add_member
from loaders import LOADERS, SIDE
from measure import interleaved

PART = 1000  # pictures that differ; a larger set repeats them, and only its names and places are its own
CLASSES = 10
FORMS: dict[str, Kind] = {
    "zip": "zip",
    "shards": "shards",
    "webdataset": "shards",
    "parquet": "parquet",
    "datasets": "parquet",
    "folder": "folder",
    "torchvision ImageFolder": "folder",
}
PLACES: dict[str, str] = {"zip": "set.zip"}


def scale(images: int, names: list[str], rounds: int, batches: int, workers: int, root: str | None) -> None:
    """Make the pictures in every form that the loaders need, and print medians over the rounds."""
    place = Path(tempfile.mkdtemp(prefix="scale-", dir=root))
    try:
        make(place, images, {FORMS[name] for name in names})
        sides = {name: partial(measured, name, place, batches, workers) for name in names}
        found = interleaved(sides, rounds)  # type: ignore[arg-type]
    finally:
        shutil.rmtree(place)
    print(f"{images:,} pictures of {SIDE} x {SIDE}, {workers} workers, {rounds} rounds")
    print("loader | first batch, s (CPU s) | images a second | CPU µs an image | MiB | peak MiB of the main process")
    for name, rows in found.items():
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}  # type: ignore[attr-defined,index]
        print(
            f"{name} | {middle['first']:.1f} ({middle['first_cpu']:.1f}) | {middle['rate']:,.0f} | "
            f"{middle['cpu_us']:.0f} | {middle['memory']:.0f} | {middle['peak']:.0f}"
        )


def make(place: Path, images: int, kinds: set[Kind]) -> None:
    """The same pictures as a folder, a .zip, shards, parquet."""
    part = _part(place / "part.tar")
    parts = [part] * max(1, images // PART)
    for kind in sorted(kinds):
        WRITERS[kind](place / PLACES.get(kind, kind), parts, tuple(f"class {i}" for i in range(CLASSES)))


def measured(name: str, place: Path, batches: int, workers: int) -> dict[str, float]:
    """The figures of one loader, from a process of its own."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("loaders.py")),
        name,
        str(place),
        str(batches),
        str(workers),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {done.stdout.splitlines()[-1]}", flush=True)
    return figures


def _part(path: Path) -> Finished:
    """A tar of smooth random pictures with labels."""
    rng, checksums, labels = np.random.default_rng(0), [0] * PART, [i % CLASSES for i in range(PART)]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(PART):
            pixels = rng.integers(256, size=(8, 8, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "PNG")
            add_member(tar, f"{i:09d}.png", buffer.getvalue())
            add_member(tar, f"{i:09d}.cls", str(labels[i]).encode())
    return Finished(Done("train", path.stat().st_size, ["png"] * PART, checksums, labels, 0, []), path)


AVAILABLE = tuple(LOADERS)
