"""Training steps through the Trainer beside plain float32 loops: `scripts/benchmark steps` calls it.

Both sides, each in a process of its own, take turns in short stretches with the same networks, batch sizes and
optimizers' settings. Ours: bfloat16 but for points in the plane, whole batches from memory, averaged weights and logs
as any run has them. CPU seconds of this process on a CPU (others' work on the machine counts little), wall time on a
GPU; medians over the rounds.
"""

import gc
import json
import logging
import math
import statistics
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lit_gen.callbacks import RunProgress, Speed
from measure import kib, peak_kib
from rows import ROWS, Row


class Everywhere:
    """In place of the counter's tracker of modules, which can't follow a penalty's derivatives."""

    parents = ("Global",)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: Any) -> None: ...


def flop_counter() -> FlopCounterMode:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = Everywhere()
    return counter


@dataclass
class Times:
    """Seconds a step, operations of a step."""

    cpu: float
    wall: float
    flops: int = 0


class Stopwatch:
    """CPU and wall seconds; on a GPU the wall waits for it."""

    def __init__(self, device: str) -> None:
        self.device, self.total = device, np.zeros(2)

    def now(self) -> np.ndarray:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return np.array([time.process_time(), time.perf_counter()])

    def start(self) -> None:
        self.begun = self.now()

    def stop(self) -> None:
        self.total += self.now() - self.begun


class Clock(L.Callback):
    """Times the steps after the warm-up, or one player's updates in them; counts the operations of the first."""

    def __init__(self, row: Row, device: str, count: bool) -> None:
        self.row, self.watch, self.count, self.flops = row, Stopwatch(device), count, 0

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        update = module.update

        def watched(name: str, *arguments: Any) -> bool:
            if name != self.row.player:
                return update(name, *arguments)
            timed = trainer.global_step > self.row.warm_up  # its critic has stepped already
            with ExitStack() as stack:
                if self.count:
                    self.counter = stack.enter_context(flop_counter())
                if timed:
                    self.watch.start()
                    stack.callback(self.watch.stop)
                return update(name, *arguments)

        module.update = watched

    def on_train_batch_start(self, *_: Any) -> None:
        if self.row.player is None and self.count:
            self.counter = flop_counter().__enter__()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self.row.player is None and self.count:
            self.counter.__exit__(None, None, None)
        if self.count:
            self.count, self.flops = False, self.counter.get_total_flops()
        if self.row.player is None and trainer.global_step == self.row.warm_up:
            self.watch.start()
        if self.row.player is None and trainer.global_step == self.row.warm_up + self.row.steps:
            self.watch.stop()


def ours(row: Row, folder: Path, device: str, count: bool) -> Times:
    clock = Clock(row, device, count)
    fit(row, folder, device, clock)
    return Times(*(clock.watch.total / row.steps), clock.flops)


def fit(row: Row, folder: Path, device: str, callback: L.Callback) -> None:
    """Train for the row's steps, with the defaults of a run."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as logs, redirect_stdout(StringIO()):
        trainer = L.Trainer(
            accelerator="gpu" if device == "cuda" else "cpu", devices=1, precision=row.precision,
            max_steps=row.warm_up + row.steps, max_epochs=-1, limit_val_batches=0, logger=CSVLogger(logs),
            callbacks=[callback, RunProgress(), Speed(**row.speed)], enable_checkpointing=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(row.module(), row.data(folder))


def peer(row: Row, folder: Path, device: str, count: bool) -> Times:
    torch.manual_seed(0)
    module = (row.peers_module or row.module)().to(device)
    loop, watch, counter = row.peer(module, device, folder), Stopwatch(device), flop_counter()
    for step in range(row.warm_up + row.steps):
        if step == row.warm_up:
            watch.start()
        if count and step == 0:
            with counter:
                next(loop)
        else:
            next(loop)
    watch.stop()
    return Times(*(watch.total / row.steps), counter.get_total_flops())


SIDES = {"ours": ours, "peer": peer}


def peak(precision: str, device: str) -> float:
    """Most operations a second of a 3 x 3 convolution of 128 channels, in this precision."""
    dtype = torch.bfloat16 if precision.startswith("bf16") else torch.float32
    x = torch.randn(64, 128, 16, 16, dtype=dtype, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3, dtype=dtype, device=device).to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(8):
        watch = Stopwatch(device)
        watch.start()
        F.conv2d(x, weight, padding=1)
        watch.stop()
        seconds.append(watch.total[int(device == "cuda")])
    return 2 * x.numel() * weight[0].numel() / min(seconds)


def write_mnist(folder: Path) -> None:
    """Random pixels in torchvision's files: 60,000 and 10,000 images, a fifth of the pixels not black."""
    raw, generator = folder / "MNIST" / "raw", np.random.default_rng(0)
    raw.mkdir(parents=True)
    for name, n in (("train", 60_000), ("t10k", 10_000)):
        pixels = generator.integers(0, 256, (n, 28, 28), np.uint8) * (generator.random((n, 28, 28)) < 0.2)
        for kind, magic, array in (("images-idx3", 2051, pixels), ("labels-idx1", 2049, np.zeros(n, np.uint8))):
            header = np.array([magic, *array.shape], ">i4").tobytes()
            (raw / f"{name}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())


class Worker:
    """A process in which one side's stretches run: what the other does to allocator and caches doesn't reach it."""

    def __init__(self, *arguments: Any) -> None:  # name of the row, side, folder, device, threads
        self.arguments = arguments
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), _prepare, arguments[-1:])
        self.imports = self.pool.submit(_mib, "VmRSS").result()

    def run(self, count: bool = False) -> Times:
        """A stretch; one step of it with its operations counted."""
        return self.pool.submit(_stretch, *self.arguments[:-1], count).result()

    def mib(self) -> float:
        """The most memory that the process has held so far beyond its imports; on a GPU, there."""
        device = self.arguments[3]
        return self.pool.submit(_mib, device).result() - (0 if device == "cuda" else self.imports)


def _prepare(threads: int) -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)


def _stretch(name: str, side: str, folder: Path, device: str, count: bool) -> Times:
    row = replace(ROWS[name], steps=1) if count else ROWS[name]
    times = SIDES[side](row, folder, device, count)
    gc.collect()  # modules know their trainers and these them
    return times


def _mib(what: str) -> float:
    if what == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    if not Path("/proc/self/status").exists():
        return math.nan
    return (peak_kib() if what == "cpu" else kib(what)) / 1024


def measure(name: str, folder: Path, rounds: int, device: str) -> dict[str, Any]:
    """Medians of both sides, and what follows from them."""
    row = ROWS[name]
    workers = {side: Worker(name, side, folder, device, torch.get_num_threads()) for side in SIDES}
    times = {side: [worker.run()] for side, worker in workers.items()}
    mib = {side: worker.mib() for side, worker in workers.items()}  # of one run: a second one finds a heap with holes
    counted = {side: worker.run(count=True) for side, worker in workers.items()}
    for _ in range(rounds - 1):
        for side, worker in workers.items():
            times[side].append(worker.run())
    clock = "wall" if device == "cuda" else "cpu"
    result: dict[str, Any] = {"step": name, "batch": row.batch, "precision": row.precision}
    for side, of_side in times.items():
        result[side] = {kind: statistics.median(getattr(t, kind) for t in of_side) for kind in ("cpu", "wall")}
        result[side] |= {"flops": counted[side].flops, "mib": mib[side]}
        workers[side].pool.shutdown()
    result["ratio"] = result["peer"][clock] / result["ours"][clock]
    result["share_of_peak"] = result["ours"]["flops"] / result["ours"][clock] / peak(row.precision, device)
    return result


def steps(arguments: Any) -> None:
    """Print a row for each step, as soon as it is measured."""
    results = []
    peaks = " and ".join(f"{peak(precision, arguments.device) / 1e9:.0f}" for precision in ("32", "bf16"))
    print(f"torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads")
    print(f"peak of a convolution, float32 and bfloat16: {peaks} GFLOP/s")
    titles = ("step", "batch", "ours, ms", "peer, ms", "ratio", "wall ratio", "GFLOP ours / peer", "share of peak")
    print(f"| {' | '.join(titles)} | MiB ours / peer |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_mnist(Path(folder))
        for name in arguments.rows or ROWS:
            result = measure(name, Path(folder), arguments.rounds, arguments.device)
            sides = [result[side] for side in SIDES]
            clock = "wall" if arguments.device == "cuda" else "cpu"
            cells = [
                *(name, result["batch"], *(f"{1000 * side[clock]:.4g}" for side in sides), f"{result['ratio']:.2f}"),
                f"{sides[1]['wall'] / sides[0]['wall']:.2f}",
                " / ".join(f"{side['flops'] / 1e9:.3g}" for side in sides),
                f"{result['share_of_peak']:.0%}",
                " / ".join(f"{side['mib']:.0f}" for side in sides),
            ]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            results.append(result)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1))
