"""Learning-rate schedules counted in updates; any class of ``torch.optim.lr_scheduler`` is accepted beside them."""

import math
from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]  # makes a schedule of an optimizer


class ConstantThenLinear(LRScheduler):
    """The rate stays for ``constant`` updates and falls linearly to zero over the next ``decay``.

    After t updates it is the first rate times 1 − max(0, t − constant) / decay, and 0 from t = constant + decay.
    CycleGAN's schedule (Zhu et al. 2017, arXiv:1703.10593, section 4): 100 epochs constant, 100 linear.

    Args:
        optimizer: Whose rate is set.
        constant: Updates at the first rate.
        decay: Updates from there to zero.
        last_epoch: Updates made so far, minus one.

    Raises:
        ValueError: if ``constant`` is negative, or ``decay`` below 1.
    """

    def __init__(self, optimizer: Optimizer, constant: int, decay: int, last_epoch: int = -1) -> None:
        if constant < 0:
            raise ValueError(f"constant={constant}: a number of updates, at least 0")
        if decay < 1:
            raise ValueError(f"decay={decay}: at least 1 update is needed")
        self.constant, self.decay = constant, decay
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Each parameter group's rate."""
        share = max(0.0, 1 - max(0, self.last_epoch - self.constant) / self.decay)
        return [rate * share for rate in self.base_lrs]


class WarmUp(LRScheduler):
    """The rate rises linearly over the first updates, and stays, or falls to zero along half a cosine.

    Before update t (counted from 0) it is the first rate times min(1, (t + 1) / updates), and with ``decay`` from
    t = updates on times (1 + cos(π min(1, (t − updates) / decay))) / 2 (arXiv:1608.03983).

    Args:
        optimizer: Whose rate is set.
        updates: In which the rate rises; 0 for none.
        decay: Updates from there to zero; null for a rate that stays.
        last_epoch: Updates made so far, minus one.

    Raises:
        ValueError: if ``updates`` is negative, or ``decay`` below 1.
    """

    def __init__(
        self, optimizer: Optimizer, updates: int = 100, decay: int | None = None, last_epoch: int = -1
    ) -> None:
        if updates < 0:
            raise ValueError(f"updates={updates}: a number of updates, at least 0")
        if decay is not None and decay < 1:
            raise ValueError(f"decay={decay}: at least 1 update is needed, or null for a rate that stays")
        self.updates, self.decay = updates, decay
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Each parameter group's rate."""
        made = self.last_epoch
        share = min(1.0, (made + 1) / self.updates) if self.updates else 1.0
        if self.decay is not None and made >= self.updates:
            share = (1 + math.cos(math.pi * min(1.0, (made - self.updates) / self.decay))) / 2
        return [rate * share for rate in self.base_lrs]
