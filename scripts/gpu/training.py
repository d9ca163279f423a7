"""Training steps of `scripts/gpu.sh`: the rows of `scripts/benchmark steps` in all ways of a GPU, and a profile."""

import gc
import inspect
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import steps as benchmark
from datamodules.datasets import InMemoryDataset
from datamodules.domains import Domains
from lit_gen.callbacks import Speed
from pieces import Piece, Settings, Unsupported, tf32
from rows import ROWS, Row

STEPS = ("dcgan_64", "dcgan_32", "wgan_gp_critic", "wgan_gp_generator", "conv_vae_64", "cyclegan_64", "mlp_gan_2d")
OPERATORS = 20


@dataclass
class Mode:
    """A way to do the same step.

    ``needs`` are the seconds without which it isn't begun; ``speed`` are options of `Speed` that aren't its defaults.
    """

    name: str
    precision: str = "32-true"
    tf32: bool = False
    resident: bool = True
    speed: dict[str, Any] = field(default_factory=dict)
    plain: bool = False
    needs: float = 5


MODES = (
    Mode("plain loop, float32", plain=True),
    Mode("float32"),
    Mode("TF32", tf32=True),
    Mode("bfloat16", "bf16-mixed"),
    Mode("bfloat16, batches from the CPU's memory", "bf16-mixed", resident=False),
    Mode("bfloat16, CUDA graphs", "bf16-mixed", speed={"cuda_graphs": True}),
    Mode("bfloat16, compiled", "bf16-mixed", speed={"compile": True}, needs=45),
)


class Held(InMemoryDataset):
    """A data set in a device's memory, where its batches are gathered, often enough for a stretch within an epoch."""

    def __init__(self, dataset: InMemoryDataset, device: str, times: int) -> None:
        repeats = (times, *[1] * (dataset.images.ndim - 1))
        super().__init__(dataset.images.repeat(repeats).to(device), dataset.labels.repeat(times).to(device))

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        rows = torch.tensor(indices, device=self.labels.device)
        return self.images.index_select(0, rows), self.labels.index_select(0, rows)


def held(dataset: Any, device: str, images: int) -> Any:
    """A data set, or two domains of them, of at least so many images on a device."""
    if isinstance(dataset, Domains):
        return Domains(*(held(part, device, images) for part in (dataset.a, dataset.b)))
    return Held(dataset, device, -(-images // len(dataset)))


def data_of(row: Row, device: str) -> Callable[[Path], Any]:
    def data(folder: Path) -> Any:
        module = row.data(folder)
        train = held(module.dataset("train"), device, (row.warm_up + row.steps) * row.batch)
        module._datasets["train"] = train
        return module

    return data


def steps(s: Settings) -> list[Piece]:
    """Every mode of every step, the modes that take longest last."""
    names = s.choose(("mlp_gan_2d",), STEPS)
    return [
        Piece(
            {"step": name, "batch": ROWS[name].batch, "mode": mode.name},
            lambda name=name, mode=mode: timed(lengthened(ROWS[name], s), mode, s),
            s.choose(0, mode.needs),
        )
        for mode in MODES
        for name in names
    ]


def lengthened(row: Row, s: Settings) -> Row:
    """With stretches as long as a GPU's steps are short."""
    return replace(row, steps=s.choose(3, max(row.steps, 50)), warm_up=s.choose(1, max(row.warm_up, 10)))


def in_mode(row: Row, mode: Mode, device: str) -> Row:
    """The row in a mode.

    Raises:
        Unsupported: `Speed` has no such option.
    """
    if unknown := mode.speed.keys() - inspect.signature(Speed).parameters.keys():
        raise Unsupported(f"Speed has no option {', '.join(unknown)}")
    kept = device if mode.resident else "cpu"
    return replace(row, precision=mode.precision, speed=mode.speed, data=data_of(row, kept))


def timed(row: Row, mode: Mode, s: Settings) -> dict[str, Any]:
    """Milliseconds of a step, the median of three stretches; compiled once, of one."""
    row = in_mode(row, mode, s.device)
    side = benchmark.peer if mode.plain else benchmark.ours
    compiles = mode.speed.get("compile", False)
    if compiles:
        torch._dynamo.reset()  # or it gives up on code that it has compiled too often
    with tempfile.TemporaryDirectory() as folder, tf32(s.device, mode.tf32):
        counted = None if compiles else side(replace(row, steps=1, warm_up=1), Path(folder), s.device, True)
        gc.collect()  # modules know their trainers and these them
        if s.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        rounds = 1 if compiles or s.small else 3
        walls = [side(row, Path(folder), s.device, False).wall for _ in range(rounds)]
    seconds = statistics.median(walls)
    return {
        "ms": 1000 * seconds,
        "images_s": row.batch / seconds,
        "gflop": None if counted is None else counted.flops / 1e9,
        "mib": torch.cuda.max_memory_allocated() / 2**20 if s.device == "cuda" else None,
    }


class Profile(L.Callback):
    """Profiles the step after the warm-up."""

    def __init__(self, row: Row, device: str) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
        self.step, self.device, self.profile = row.warm_up, device, profile(activities=activities)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            self.wait()
            self.profile.start()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step + 1:
            self.wait()
            self.profile.stop()

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def profiles(s: Settings) -> list[Piece]:
    """The operators of one step under bfloat16, by the time they take on the device."""
    names = s.choose(("mlp_gan_2d",), ("dcgan_64", "wgan_gp_critic", "mlp_gan_2d"))
    return [
        Piece({"step": name, "precision": "bfloat16"}, lambda name=name: profiled(lengthened(ROWS[name], s), s), 5)
        for name in names
    ]


def profiled(row: Row, s: Settings) -> dict[str, Any]:
    row = in_mode(replace(row, steps=2), Mode("bfloat16", "bf16-mixed"), s.device)
    callback = Profile(row, s.device)
    with tempfile.TemporaryDirectory() as folder:
        benchmark.fit(row, Path(folder), s.device, callback)
    events = callback.profile.key_averages()
    if s.device == "cuda":  # kernels alone: operators and annotations would count theirs a second time
        events = [e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    times = {
        event: event.self_device_time_total if s.device == "cuda" else event.self_cpu_time_total for event in events
    }
    whole = sum(times.values())
    if not whole:
        raise RuntimeError("the profiler has seen no operator")
    longest = sorted(events, key=times.__getitem__, reverse=True)[:OPERATORS]
    operators = [
        {"operator": e.key[:90], "calls": e.count, "ms": times[e] / 1000, "share": f"{times[e] / whole:.1%}"}
        for e in longest
    ]
    return {"ms": whole / 1000, "operators": operators}
