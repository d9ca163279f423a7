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
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.conversion.parts import Done, Finished
from datamodules.conversion.targets import WRITERS, Kind
from datamodules.shard_index import INDEX, ShardIndex
from datamodules.shard_writer import add_member
from loaders import LOADERS, SIDE
from measure import interleaved

PART = 1000  # pictures that differ; a larger set repeats them, and only its names and places are its own
CLASSES = 10
ROW_GROUPS = 100  # of a file of parquet
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
    place = Path(tempfile.mkdtemp(prefix="scale-") if root is None else root)
    try:
        make(place, images, {FORMS[name] for name in names})
        sides = {name: partial(measured, name, place, batches, workers) for name in names}
        found = interleaved(sides, rounds)  # type: ignore[arg-type]
    finally:
        if root is None:
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
    """The same pictures as a folder, a .zip, shards, parquet, as far as they are not there."""
    place.mkdir(parents=True, exist_ok=True)
    part = _part(place / "part.tar")
    for kind in sorted(kinds):
        target = place / PLACES.get(kind, kind)
        if target.exists():
            continue
        write = {"shards": _repeated_shards, "parquet": _repeated_parquet}.get(kind, WRITERS[kind])
        write(target, [part] * max(1, images // PART), tuple(f"class {i}" for i in range(CLASSES)))


def _repeated_parquet(path: Path, parts: Sequence[Finished], class_names: tuple[str, ...]) -> None:
    """As `write_parquet`, but files of so many row groups that are one by links."""
    count = -(-len(parts) // ROW_GROUPS)
    WRITERS["parquet"](path, parts[: len(parts) // count], class_names)
    first = next(path.iterdir())
    for i in range(1, count):
        os.link(first, path / f"train-{i:05d}-of-{count:05d}.parquet")
    first.rename(path / f"train-00000-of-{count:05d}.parquet")


def _repeated_shards(path: Path, parts: Sequence[Finished], class_names: tuple[str, ...]) -> None:
    """As `write_shards`, but the headers of a shard that all are the same as are read once."""
    WRITERS["shards"](path, parts[:1], class_names)
    one, count = ShardIndex.of(path), len(parts)
    for i in range(1, count):
        os.link(parts[i].tar, path / f"train-{i:06d}.tar")
    each = {name: np.tile(getattr(one, name), count) for name in ("sizes", "offset", "length", "suffix", "label")}
    names = np.array([f"train-{i:06d}.tar" for i in range(count)])
    index = replace(one, shards=names, shard=np.repeat(np.arange(count), len(one.shard)), **each)
    with open(path / INDEX, "wb") as file:
        np.savez_compressed(file, **asdict(index))


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
    path.unlink(missing_ok=True)  # shards of an earlier run may be links to it
    rng, checksums, labels = np.random.default_rng(0), [0] * PART, [i % CLASSES for i in range(PART)]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(PART):
            pixels = rng.integers(256, size=(8, 8, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            smooth = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            Image.fromarray(smooth & 0xF0).save(buffer, "PNG")  # which takes a few kB
            add_member(tar, f"{i:09d}.png", buffer.getvalue())
            add_member(tar, f"{i:09d}.cls", str(labels[i]).encode())
    return Finished(Done("train", path.stat().st_size, ["png"] * PART, checksums, labels, 0, []), path)


AVAILABLE = tuple(LOADERS)
