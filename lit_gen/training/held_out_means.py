"""Means of what validation and test log, over all samples of all processes alike."""

from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics import Metric


class HeldOutMeans:
    """Sums and counts of values by name, in float64, that processes add up once at the end.

    The framework's own reduction averages the processes' means as if they had as many samples, and cuts the mean of
    their counts to a whole number (seen in Lightning 2.6.6): with 10 images on 4 processes a mean comes out a
    quarter too large.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[tuple[Tensor, int]]] = {}
        self._options: dict[str, dict[str, Any]] = {}

    def add(self, name: str, value: Any, rows: int, options: dict[str, Any]) -> None:
        """Take a mean over ``rows`` samples; ``options`` say how it is to be logged."""
        value = torch.as_tensor(value).detach()
        if value.numel() != 1:
            raise ValueError(f"{name}={tuple(value.shape)}: a single number can be logged")
        self._values.setdefault(name, []).append((value.reshape(()), rows))
        self._options[name] = options

    def clear(self) -> list[str]:
        """Forget what was added since the last call of :meth:`take`; its names."""
        names, self._values, self._options = list(self._values), {}, {}
        return names

    def take(self, processes: int) -> list[tuple[str, float, dict[str, Any]]]:
        """Name, mean and options of everything added since the last call. A collective."""
        own = {}
        for name, values in self._values.items():
            numbers = torch.stack([value.float() if value.dtype.itemsize < 4 else value for value, _ in values])
            rows = torch.tensor([count for _, count in values], dtype=torch.float64)
            own[name] = ((numbers.cpu().double() * rows).sum().item(), rows.sum().item(), self._options[name])
        everyones: list[Any] = [own]
        if processes > 1:
            everyones = [None] * processes
            torch.distributed.all_gather_object(everyones, own)
        self._values, self._options = {}, {}
        means = []
        for name in dict.fromkeys(name for each in everyones for name in each):
            known = [each[name] for each in everyones if name in each]
            means.append((name, sum(total for total, *_ in known) / sum(rows for _, rows, _ in known), known[0][2]))
        return means


class HeldOutLogging(L.LightningModule):
    """A module whose ``validation_step`` and ``test_step`` log means over all samples, by :class:`HeldOutMeans`."""

    def __init__(self) -> None:
        super().__init__()
        self._held_out = HeldOutMeans()
        self._seen, self._rows = 0, 1  # samples of the pass before this batch, and of this batch
        self._loader: int | None = None  # of several

    def begin_held_out_batch(self, batch: Any, batch_idx: int, dataloader_idx: int) -> int:
        """Learn of a batch's place; this process's samples before it in the pass."""
        if batch_idx == 0:
            self._seen = self._rows = 0
            if dataloader_idx == 0:
                self._forget_unread()
        loaders = self.trainer.num_test_batches if self.trainer.testing else self.trainer.num_val_batches
        self._loader = dataloader_idx if isinstance(loaders, list) and len(loaders) > 1 else None
        self._seen, self._rows = self._seen + self._rows, rows_of(batch)
        return self._seen

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """As Lightning's; but what validation_step and test_step log is a mean over all samples of all processes.

        Each value counts as a mean over its batch, or over ``batch_size`` samples. One that is logged for each step
        (``on_step=True``) or that is reduced in another way (``reduce_fx``) is left to Lightning.
        """
        per_step = kwargs.get("on_step") or kwargs.get("reduce_fx", "mean") != "mean" or args
        if self._current_fx_name not in ("validation_step", "test_step") or per_step or isinstance(value, Metric):
            super().log(name, value, *args, **kwargs)
            return
        rows = kwargs.get("batch_size") or self._rows
        if self._loader is not None and kwargs.get("add_dataloader_idx", True):
            name = f"{name}/loader_{self._loader}"  # "dataloader_idx_" is for Lightning itself to write
        options: dict[str, Any] = {key: kwargs[key] for key in ("prog_bar", "logger") if key in kwargs}
        self._held_out.add(name, value, rows, options)

    def log_held_out(self) -> None:
        """Log the means of the pass that ends. A collective."""
        # The same everywhere already: the largest of equal numbers is exactly each of them.
        for name, mean, options in self._held_out.take(self.trainer.world_size):
            super().log(name, mean, sync_dist=self.trainer.world_size > 1, reduce_fx="max", **options)

    def _forget_unread(self) -> None:
        if names := self._held_out.clear():
            rank_zero_warn(
                f"{', '.join(names)}: logged in validation_step or test_step and lost, as the module's own "
                "on_validation_epoch_end or on_test_epoch_end doesn't call super()'s"
            )

    def teardown(self, stage: str) -> None:
        """Leave nothing unread."""
        self._forget_unread()


def rows_of(batch: Any) -> int:
    """Samples of a batch: rows of its first tensor."""
    while not isinstance(batch, Tensor):
        batch = next(iter(batch.values() if isinstance(batch, dict) else batch))
    return len(batch)
