import warnings

import pytest
import torch

from lit_gen.schedulers import ConstantThenLinear


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


@pytest.mark.parametrize(("constant", "decay", "message"), [(-1, 5, "constant=-1"), (5, 0, "decay=0")])
def test_settings_out_of_range(constant, decay, message):
    with pytest.raises(ValueError, match=message):
        ConstantThenLinear(optimizer(), constant, decay)
