"""Forms that are measured: all that may be taken are PyTorch's convolution, and one answer is for all later runs."""

import json
import warnings
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from lit_gen.callbacks import Speed
from lit_gen.kernels import FastConvolutions, choice, forms, measure_forms, measured
from lit_gen.kernels.forms import Settings
from lit_gen.kernels.measured import Measured

HALVING = Settings([2, 2], [1, 1], [1, 1], False, [0, 0], 1)
KEEPING = Settings([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
# Shapes of x and of the weight, settings, and the forms of value and gradients beside PyTorch's.
CASES = {
    "a halving": ((2, 5, 8, 12), (6, 5, 4, 4), HALVING, {"by_windows", "by_blocks"}, True, 2),
    "a doubling": ((2, 5, 4, 6), (5, 6, 4, 4), HALVING._replace(transposed=True), {"by_subpixels"}, True, 2),
    "neighbours": ((2, 5, 6, 8), (6, 5, 3, 3), KEEPING, {"by_windows", "by_fours"}, True, 2),
    "of uneven sides": ((2, 5, 7, 9), (6, 5, 3, 3), HALVING, {"by_windows"}, False, 1),
    "odd sides": ((2, 5, 7, 8), (6, 5, 4, 4), HALVING, {"by_windows"}, False, 1),
    "a doubling to odd": (
        (2, 5, 4, 6), (5, 6, 3, 3), HALVING._replace(transposed=True, output_padding=[1, 1]), set(), True, 1,
    ),
    "grouped": ((2, 4, 6, 6), (6, 2, 3, 3), KEEPING._replace(groups=2), set(), False, 0),
    "1 x 1": ((2, 5, 6, 6), (6, 5, 1, 1), KEEPING._replace(padding=[0, 0]), {"by_windows"}, False, 1),
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_measuring_is_left():
    yield
    measure_forms("off")


@pytest.fixture
def clock(monkeypatch):
    """Time that passes as the forms below say."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(measured.time, "thread_time", lambda: Clock.now)
    return Clock


def taking(clock, name, seconds):
    """A form, and how often it was computed."""

    def form(*_):
        clock.now += seconds
        form.calls += 1

    form.__name__, form.calls = name, 0
    return form


@pytest.mark.parametrize("innermost", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("case", CASES)
def test_every_form_that_fits_is_pytorchs(case, innermost):
    x_shape, weight_shape, settings, values, of_input, of_weight = CASES[case]
    order = torch.channels_last if innermost else torch.contiguous_format
    x, weight = (
        torch.randn(s, dtype=torch.float64).to(memory_format=order).requires_grad_() for s in (x_shape, weight_shape)
    )
    bias = torch.randn(weight.shape[1] if settings.transposed else weight.shape[0], dtype=torch.float64)
    y = torch.convolution(x, weight, bias, *settings)
    g = torch.randn_like(y)
    exact = y, *torch.autograd.grad(y, (x, weight), g)
    x, weight = x.detach(), weight.detach()
    calls = [
        (choice._values, (x, weight, bias, settings)),
        (choice._inputs, (g, weight, x.shape, settings)),
        (choice._weights, (g, x, weight.shape, settings)),
    ]
    found = [fitting(*args) for fitting, args in calls]
    for fitting, (_, args), expected in zip(found, calls, exact, strict=True):
        for form in fitting:
            torch.testing.assert_close(form(*args), expected, rtol=0, atol=1e-11, msg=form.__name__)
    assert {form.__name__ for form in found[0]} == {"plain", *values}
    assert len(found[1]) == 1 + of_input
    assert len(found[2]) == 1 + of_weight


def test_no_more_windows_than_memory_is_worth():
    x, weight = torch.empty(64, 4, 32, 32), torch.empty(8, 4, 3, 3)
    assert forms.by_windows not in choice._values(x, weight, None, KEEPING)
    assert forms.by_product not in choice._weights(torch.empty(64, 8, 32, 32), x, weight.shape, KEEPING)


@pytest.mark.parametrize(("other", "taken"), [(0.9, "other"), (0.97, "known"), (1.1, "known")])
def test_a_form_must_be_faster_by_more_than_chance(other, taken, clock, tmp_path):
    both = taking(clock, "known", 1.0), taking(clock, "other", other)
    assert Measured(tmp_path).fastest("sum", both[0], lambda: both, (torch.ones(2),)).__name__ == taken


def test_a_slow_form_is_tried_twice(clock, tmp_path):
    known, slow = taking(clock, "known", 1.0), taking(clock, "slow", 4.0)
    Measured(tmp_path).fastest("sum", known, lambda: (known, slow), ())
    assert (known.calls, slow.calls) == (measured.ROUNDS, 2)


def test_an_answer_holds_for_the_process_and_for_later_ones(clock, tmp_path):
    known, other = taking(clock, "known", 1.0), taking(clock, "other", 0.5)
    first = Measured(tmp_path)
    for _ in range(2):
        assert first.fastest("sum", known, lambda: (known, other), (torch.ones(2),)) is other
    assert (first.count, other.calls) == (1, measured.ROUNDS)
    changed = taking(clock, "known", 0.1), taking(clock, "other", 0.5)
    later = Measured(tmp_path)
    assert later.fastest("sum", changed[0], lambda: changed, (torch.ones(2),)) is changed[1]
    assert (later.count, changed[1].calls) == (0, 0)
    assert later.fastest("sum", changed[0], lambda: changed, (torch.ones(3),)) is changed[0]  # another shape
    (answer,) = (json.loads(path.read_text()) for path in tmp_path.iterdir() if "(2,)" in path.read_text())
    assert answer["form"] == "other"
    assert answer["milliseconds"] == {"known": 1000, "other": 500}


def test_of_two_processes_the_first_to_end_decides(clock, tmp_path):
    known, other = taking(clock, "known", 1.0), taking(clock, "other", 0.5)

    def known_elsewhere(*_):  # while this one is measured, another process finds the known one faster
        clock.now += 1.0
        fast = taking(clock, "known", 0.1), taking(clock, "other", 0.5)
        Measured(tmp_path).fastest("sum", fast[0], lambda: fast, ())

    known_elsewhere.__name__ = "known"
    assert Measured(tmp_path).fastest("sum", known_elsewhere, lambda: (known_elsewhere, other), ()) is known_elsewhere
    assert len(list(tmp_path.iterdir())) == 1
    assert Measured(tmp_path).fastest("sum", known, lambda: (known, other), ()) is known


@pytest.mark.parametrize("content", ["", "{", '{"form": "gone"}', '{"form": 3}', '{"form": ["other"]}', "[]"])
def test_an_answer_that_says_nothing_is_replaced(content, clock, tmp_path):
    both = taking(clock, "known", 1.0), taking(clock, "other", 0.5)
    Measured(tmp_path).fastest("sum", both[0], lambda: both, ())
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert Measured(tmp_path).fastest("sum", both[0], lambda: both, ()) is both[1]
    assert json.loads(path.read_text())["form"] == "other"


def test_without_a_place_the_answer_is_this_processs_and_it_says_so_once(clock, tmp_path):
    (tmp_path / "file").write_text("")
    here = Measured(tmp_path / "file" / "forms")
    both = taking(clock, "known", 1.0), taking(clock, "other", 0.5)
    with pytest.warns(UserWarning, match="can't be kept in .*seeded runs may differ in their last bits"):
        assert here.fastest("sum", both[0], lambda: both, ()) is both[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert here.fastest("sum", both[0], lambda: both, ()) is both[1]
        assert here.fastest("product", both[0], lambda: both, ()) is both[1]
    assert here.count == 2


@pytest.mark.parametrize(
    ("wanted", "tiles", "does"),
    [("auto", False, False), ("auto", True, True), ("on", False, True), ("off", True, False)],
)
def test_who_measures(wanted, tiles, does, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": tiles})
    assert (measure_forms(wanted) is not None) == measured.measures() == does


def test_another_choice_is_refused():
    with pytest.raises(ValueError, match="measure='always': 'auto', 'on' or 'off'"):
        Speed(measure="always")
    assert (Speed(measure=True).measure, Speed(guard=False).guard) == ("on", "off")  # as YAML reads the words


def train(steps=3):
    """Weights after some steps in bfloat16, of convolutions in every role."""
    generator = torch.Generator().manual_seed(0)
    weights = [
        (0.1 * torch.randn(shape, generator=generator)).requires_grad_()
        for shape in ((16, 3, 4, 4), (32, 16, 4, 4), (32, 16, 4, 4), (16, 3, 4, 4))
    ]
    x = torch.randn(4, 3, 16, 16, generator=generator).to(memory_format=torch.channels_last)
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16), FastConvolutions():
            h = x
            for weight in weights[:2]:
                h = F.leaky_relu(F.conv2d(h, weight, stride=2, padding=1), 0.2)
            for weight in weights[2:]:
                h = F.conv_transpose2d(h, weight, stride=2, padding=1)
            gradients = torch.autograd.grad((h.float() - x).square().mean(), weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= 0.1 * gradient
    return [weight.detach() for weight in weights]


def test_runs_repeat_bit_by_bit_once_the_forms_are_kept():
    first = measure_forms("on")
    runs = [train(), train()]
    assert first.count > 10
    measure_forms("off")
    again = measure_forms("on")
    runs.append(train())
    assert again is not first
    assert again.count == 0
    for one, other in pairwise(runs):
        assert all(map(torch.equal, one, other))
    measure_forms("off")
    for ours, plain in zip(runs[0], train(), strict=True):
        assert (ours - plain).norm() < 0.02 * plain.norm()
