"""Learning-rate schedules counted in updates; any class of ``torch.optim.lr_scheduler`` is accepted beside them."""

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
