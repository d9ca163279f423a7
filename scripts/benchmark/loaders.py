"""The loaders that `scripts/benchmark scale` measures, one a process: ours and others' of the same pictures.

    python scripts/benchmark/loaders.py zip FOLDER BATCHES WORKERS

All hand out shuffled batches of 64 as float32 in [-1, 1], in the ways that their documentation shows.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from measure import kib, peak_kib

BATCH, SIDE = 64, 64
WARM_UP = 10  # batches that are read before the clock runs: what workers had ready counts for nothing
Batches = Iterator[torch.Tensor]


def ours(data: Any) -> Callable[[], Batches]:
    """Batches of one of our data modules, epoch after epoch."""

    def batches() -> Batches:
        loader = data.train_dataloader()
        while True:
            for images, _ in loader:
                yield data.to_float(images)

    return batches


def zipped(folder: Path, workers: int) -> Callable[[], Batches]:
    from datamodules import ImageFolderDataModule

    return ours(ImageFolderDataModule(str(folder / "set.zip"), SIDE, batch_size=BATCH, num_workers=workers, seed=0))


def folder(folder: Path, workers: int) -> Callable[[], Batches]:
    from datamodules import ImageFolderDataModule

    return ours(ImageFolderDataModule(str(folder / "folder"), SIDE, batch_size=BATCH, num_workers=workers, seed=0))


def shards(folder: Path, workers: int) -> Callable[[], Batches]:
    from datamodules import StreamingDataModule

    return ours(StreamingDataModule(str(folder / "shards"), SIDE, batch_size=BATCH, num_workers=workers, seed=0))


def parquet(folder: Path, workers: int) -> Callable[[], Batches]:
    from datamodules import HuggingFaceDataModule

    path = str(folder / "parquet")
    return ours(HuggingFaceDataModule(path, image_size=SIDE, batch_size=BATCH, num_workers=workers, seed=0))


def transform() -> Any:
    """To float32 in [-1, 1], as every tutorial has it."""
    from torchvision import transforms

    return transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])


def torchvision_folder(folder: Path, workers: int) -> Callable[[], Batches]:
    from torchvision.datasets import ImageFolder

    def batches() -> Batches:
        data = ImageFolder(str(folder / "folder"), transform())
        loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, drop_last=True)
        while True:
            yield from (images for images, _ in loader)

    return batches


def webdataset(folder: Path, workers: int) -> Callable[[], Batches]:
    import webdataset as wds

    def batches() -> Batches:
        urls = sorted(map(str, (folder / "shards").glob("*.tar")))
        data = wds.WebDataset(urls, shardshuffle=100, nodesplitter=wds.split_by_node, empty_check=False)
        data = data.shuffle(1000).decode("pil").to_tuple("png", "cls").map_tuple(transform(), lambda label: label)
        while True:
            loader = wds.WebLoader(data.batched(BATCH, partial=False), batch_size=None, num_workers=workers)
            yield from (images for images, _ in loader)

    return batches


def hugging_face(folder: Path, workers: int) -> Callable[[], Batches]:
    from datasets import load_dataset

    def batches() -> Batches:
        files, cache = sorted(map(str, (folder / "parquet").glob("*.parquet"))), str(folder / f"cache-{os.getpid()}")
        data = load_dataset("parquet", data_files={"train": files}, split="train", cache_dir=cache)
        change = transform()
        data = data.with_transform(lambda rows: {**rows, "image": [change(image) for image in rows["image"]]})
        loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, drop_last=True)
        while True:
            yield from (batch["image"] for batch in loader)

    return batches


LOADERS: dict[str, Callable[[Path, int], Callable[[], Batches]]] = {
    "folder": folder,
    "zip": zipped,
    "shards": shards,
    "parquet": parquet,
    "torchvision ImageFolder": torchvision_folder,
    "webdataset": webdataset,
    "datasets": hugging_face,
}


def tree() -> list[str]:
    """This process and its workers, by their numbers."""
    own = os.getpid()
    children = [Path(f"/proc/{own}/task/{task}/children").read_text().split() for task in os.listdir("/proc/self/task")]
    return [str(own), *(child for each in children for child in each)]


def cpu_seconds_of_all() -> float:
    """Processor seconds of this process and its workers, as far as they live."""
    ticks = 0
    for process in tree():
        ticks += sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def anonymous_kib() -> int:
    """Memory of all these processes but for what is in files, what they share counted once."""
    total = 0
    for process in tree():
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return total


def main(name: str, folder: str, batches: str, workers: str) -> None:
    """Print seconds to the first batch, images a second of processor and clock, and memory."""
    open_loader = LOADERS[name](Path(folder), int(workers))
    before, held, clock, cpu = anonymous_kib(), kib("VmRSS"), time.perf_counter(), cpu_seconds_of_all()
    source = open_loader()
    images = next(source)
    assert tuple(images.shape) == (BATCH, 3, SIDE, SIDE)
    assert images.dtype == torch.float32
    first, first_cpu = time.perf_counter() - clock, cpu_seconds_of_all() - cpu
    for _ in range(WARM_UP):
        next(source)
    clock, cpu = time.perf_counter(), cpu_seconds_of_all()
    for _ in range(int(batches)):
        next(source)
    spent, spent_cpu = time.perf_counter() - clock, cpu_seconds_of_all() - cpu
    count = int(batches) * BATCH
    figures = {
        "first": first,
        "first_cpu": first_cpu,
        "rate": count / spent,
        "cpu_us": 1e6 * spent_cpu / count,
        "memory": (anonymous_kib() - before) / 1024,
        "peak": (peak_kib() - held) / 1024,
    }
    print(json.dumps(figures), flush=True)
    os._exit(0)  # no wait for workers


if __name__ == "__main__":
    main(*sys.argv[1:])
