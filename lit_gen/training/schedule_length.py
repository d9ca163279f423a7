"""How many updates a learning-rate schedule lasts."""

import math

from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, OneCycleLR, SequentialLR


def updates_left(scheduler: LRScheduler) -> float:
    """Updates that may still be made; infinity for a schedule that has no end.

    Of PyTorch's schedules ``OneCycleLR`` alone refuses a step past its end, by itself or as a part of another schedule.
    """
    if isinstance(scheduler, OneCycleLR):
        return scheduler.total_steps - scheduler.last_epoch
    if isinstance(scheduler, ChainedScheduler):
        return min(map(updates_left, scheduler._schedulers))
    if not isinstance(scheduler, SequentialLR):
        return math.inf
    now, starts = scheduler.last_epoch, [0, *scheduler._milestones]
    for part, start, end in zip(scheduler._schedulers, starts, [*scheduler._milestones, math.inf], strict=True):
        if now >= end:
            continue
        # A part that hasn't begun is set back to its own beginning when its turn comes.
        last = now + updates_left(part) if now >= start else start + updates_left(part) + part.last_epoch
        if last < end - 1:
            return last - now
    return math.inf
