"""Measures how an image folder of many files starts: seconds and memory to find, divide and label them.

    python scripts/experiments/list_folder.py --files 200000

The files are empty; none is opened.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from datamodules import ImageFolderDataModule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--classes", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in range(given.classes):
            below = Path(folder) / f"class_{kind:03d}"
            below.mkdir()
            for i in range(kind, given.files, given.classes):
                (below / f"image_{i:09d}.png").touch()
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        data = ImageFolderDataModule(folder)
        images = sum(len(data.dataset(split)) for split in ("train", "val", "test"))
        seconds = time.perf_counter() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{images} files in {data.num_classes} classes: {seconds:.2f} s, {grown:.0f} MiB more at the peak")


if __name__ == "__main__":
    main()
