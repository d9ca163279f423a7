"""Training on given batches, for the comparisons with plain PyTorch."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from invariances import held
from plain_gan import SEED
from torch import Tensor


class Batches:
    """A loader of given batches that remembers its place."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches, self.next = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        while self.next < len(self.batches):
            self.next += 1
            yield self.batches[self.next - 1]
        self.next = 0

    def state_dict(self) -> dict[str, int]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next = state["next"]


@contextmanager
def default_float64() -> Iterator[None]:
    """As the trainer does in ``64-true``: random numbers are then made in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def batches(sizes: list[int], shape: tuple[int, ...], classes: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Images in [-1, 1] and labels."""
    source = torch.Generator().manual_seed(5)
    return [
        (
            2 * torch.rand(n, *shape, dtype=dtype, generator=source) - 1,
            torch.randint(classes, (n,), generator=source),
        )
        for n in sizes
    ]


def fit(module: Any, seen: list[Any], ckpt_path: Path | None = None, **options: Any) -> L.Trainer:
    """One epoch."""
    warnings.simplefilter("ignore")
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False, **{"precision": "64-true", **options},
    )  # fmt: skip
    module.seed = SEED
    trainer.fit(module, Batches(seen), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def assert_resumes(
    make: Callable[[], Any], seen: list[Any], assert_same: Callable[..., None], folder: Path, **options: Any
) -> None:
    """From each batch but the last, bit for bit."""
    uninterrupted = make()

    class Save(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.save_checkpoint(folder / f"{trainer.global_step}.ckpt")

    fit(uninterrupted, seen, callbacks=[Save()], precision="32-true", **options)
    for step in range(1, len(seen)):
        resumed = make()
        fit(resumed, seen, ckpt_path=folder / f"{step}.ckpt", precision="32-true", **options)
        assert_same(held(uninterrupted), held(resumed))
