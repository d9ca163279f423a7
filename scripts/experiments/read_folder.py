"""Measures how fast an image folder is read with and without a cache: images a second, an epoch each.

    python scripts/experiments/read_folder.py --files 2000 --side 256 --image_size 64 --workers 0 2

The pictures are JPEGs of random blots of several sizes. The disk's cache is a new one, in the folder of the pictures.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules import ImageFolderDataModule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder, "pictures"), given.files, given.side)
        for cache in ("none", "ram", "disk"):
            for workers in given.workers:
                place = {"cache_folder": f"{folder}/cache{workers}"} if cache == "disk" else {}
                data = ImageFolderDataModule(
                    f"{folder}/pictures", given.image_size, num_workers=workers, cache=cache, val_share=0, test_share=0,
                    **place,
                )  # fmt: skip
                rates = ", ".join(f"{rate:,.0f}" for rate in images_per_second(data, given.epochs))
                print(f"cache {cache}, {workers} workers: {rates} images/s", flush=True)


def write_pictures(folder: Path, files: int, side: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(files):
        picture = np.zeros((side, side, 3))
        for blot in (2, 8, 32):
            small = Image.fromarray(rng.integers(256, size=(side // blot + 1, side // blot + 1, 3), dtype=np.uint8))
            picture += np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)) * (blot / 42)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i:06d}.jpg", quality=90)


def images_per_second(data: ImageFolderDataModule, epochs: int) -> list[float]:
    loader, rates = data.train_dataloader(), []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        start = time.perf_counter()
        images = sum(len(batch) for batch, _ in loader)
        rates.append(images / (time.perf_counter() - start))
    return rates


if __name__ == "__main__":
    main()
