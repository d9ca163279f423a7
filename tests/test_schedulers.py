import math
import warnings

import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, ExponentialLR, OneCycleLR, SequentialLR

from lit_gen.schedulers import ConstantThenLinear, WarmUp
from lit_gen.training.schedule_length import updates_left


def optimizer():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (2e-4, 0.1)]
    return torch.optim.SGD(groups)


def rates(scheduler, steps):
    warnings.simplefilter("ignore")
    result = [scheduler.get_last_lr()]
    for _ in range(steps):
        scheduler.step()
        result.append(scheduler.get_last_lr())
    return result


def test_the_table():
    table = [1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0]  # constant=3, decay=4
    scheduler = ConstantThenLinear(optimizer(), constant=3, decay=4)
    for got, share in zip(rates(scheduler, 9), table, strict=True):
        assert got == pytest.approx([2e-4 * share, 0.1 * share])


def test_no_constant_part():
    assert [r[1] for r in rates(ConstantThenLinear(optimizer(), 0, 2), 3)] == pytest.approx([0.1, 0.05, 0, 0])


def test_a_restored_schedule_goes_on_the_same():
    whole = rates(ConstantThenLinear(optimizer(), 2, 5), 7)
    first = ConstantThenLinear(optimizer(), 2, 5)
    rates(first, 4)
    second = ConstantThenLinear(optimizer(), 2, 5)
    second.load_state_dict(first.state_dict())
    assert rates(second, 3) == whole[4:]


def test_a_warm_up_and_half_a_cosine():
    half = math.sqrt(0.5)
    table = [0.25, 0.5, 0.75, 1, 1, (1 + half) / 2, 0.5, (1 - half) / 2, 0, 0]  # updates=4, decay=4
    scheduler = WarmUp(optimizer(), updates=4, decay=4)
    for got, share in zip(rates(scheduler, 9), table, strict=True):
        assert got == pytest.approx([2e-4 * share, 0.1 * share], abs=1e-12)
    assert [r[1] for r in rates(WarmUp(optimizer(), 2), 4)] == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.1])
    assert [r[1] for r in rates(WarmUp(optimizer(), 0, 2), 2)] == pytest.approx([0.1, 0.05, 0], abs=1e-12)
    for options, told in (((-1,), "updates=-1"), ((3, 0), "decay=0")):
        with pytest.raises(ValueError, match=told):
            WarmUp(optimizer(), *options)


@pytest.mark.parametrize(("constant", "decay", "message"), [(-1, 5, "constant=-1"), (5, 0, "decay=0")])
def test_settings_out_of_range(constant, decay, message):
    with pytest.raises(ValueError, match=message):
        ConstantThenLinear(optimizer(), constant, decay)


def one_cycle(of, steps):
    return OneCycleLR(of, 0.1, total_steps=steps, cycle_momentum=False)


def in_turn(of, first, steps, milestones):
    return SequentialLR(of, [first, one_cycle(of, steps), *(ConstantLR(of) for _ in milestones[1:])], milestones)


SCHEDULES = {
    "one cycle": lambda of: one_cycle(of, 7),
    "chained": lambda of: ChainedScheduler([one_cycle(of, 9), ExponentialLR(of, 0.9), one_cycle(of, 5)]),
    "last in turn": lambda of: in_turn(of, ConstantLR(of), 4, [3]),
    "too short in its turn": lambda of: in_turn(of, ConstantLR(of), 4, [3, 9]),
    "just short enough in its turn": lambda of: in_turn(of, ConstantLR(of), 4, [3, 8]),
    "first in turn": lambda of: in_turn(of, one_cycle(of, 3), 30, [6]),
    "without end": ConstantLR,
}


ENDLESS = ("just short enough in its turn", "without end")


@pytest.mark.parametrize("made", [0, 1, 2, 4])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_updates_left_are_those_until_it_raises(name, made):
    warnings.simplefilter("ignore")
    scheduler = SCHEDULES[name](optimizer())
    for _ in range(made if name != "first in turn" else min(made, 3)):
        scheduler.step()
    told = updates_left(scheduler)
    assert math.isinf(told) == (name in ENDLESS)
    for _ in range(20 if math.isinf(told) else int(told)):
        scheduler.step()
    if not math.isinf(told):
        with pytest.raises(ValueError, match="Tried to step"):
            scheduler.step()
