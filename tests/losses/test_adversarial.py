import math

import pytest
import torch

from lit_gen.losses import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    Wasserstein,
)

ABSOLUTE = [NonSaturating(), NonSaturating(0.9), Minimax(), Minimax(0.8), LeastSquares(), Hinge(), Wasserstein()]
LOSSES = [*ABSOLUTE, RelativisticPairing(), RelativisticAverage()]
REAL, FAKE = [2.0, -1.5, 0.25], [-3.0, 0.5, 1.0]
MINUS = [-score for score in FAKE]


def mean(function, scores):
    return sum(map(function, scores)) / len(scores)


def minus_log_sigmoid(t):
    return -math.log(1 / (1 + math.exp(-t)))


EXPECTED = {
    NonSaturating(): (
        mean(minus_log_sigmoid, REAL) + mean(lambda t: -math.log(1 - 1 / (1 + math.exp(-t))), FAKE),
        mean(minus_log_sigmoid, FAKE),
    ),
    Minimax(): (
        mean(minus_log_sigmoid, REAL) + mean(lambda t: -math.log(1 - 1 / (1 + math.exp(-t))), FAKE),
        mean(lambda t: math.log(1 - 1 / (1 + math.exp(-t))), FAKE),
    ),
    NonSaturating(0.9): (
        mean(lambda t: 0.9 * minus_log_sigmoid(t) + 0.1 * minus_log_sigmoid(-t), REAL) + mean(minus_log_sigmoid, MINUS),
        mean(minus_log_sigmoid, FAKE),
    ),
    Minimax(0.8): (
        mean(lambda t: 0.8 * minus_log_sigmoid(t) + 0.2 * minus_log_sigmoid(-t), REAL) + mean(minus_log_sigmoid, MINUS),
        -mean(minus_log_sigmoid, MINUS),
    ),
    RelativisticPairing(): (
        sum(minus_log_sigmoid(r - f) for r, f in zip(REAL, FAKE, strict=True)) / 3,
        sum(minus_log_sigmoid(f - r) for r, f in zip(REAL, FAKE, strict=True)) / 3,
    ),
    RelativisticAverage(): (
        mean(lambda t: minus_log_sigmoid(t - sum(FAKE) / 3), REAL)
        + mean(lambda t: minus_log_sigmoid(sum(REAL) / 3 - t), FAKE),
        mean(lambda t: minus_log_sigmoid(t - sum(REAL) / 3), FAKE)
        + mean(lambda t: minus_log_sigmoid(sum(FAKE) / 3 - t), REAL),
    ),
    LeastSquares(): (
        0.5 * mean(lambda t: (t - 1) ** 2, REAL) + 0.5 * mean(lambda t: t**2, FAKE),
        0.5 * mean(lambda t: (t - 1) ** 2, FAKE),
    ),
    LeastSquares(0.9, -1.0, 0.5): (
        0.5 * mean(lambda t: (t - 0.9) ** 2, REAL) + 0.5 * mean(lambda t: (t + 1) ** 2, FAKE),
        0.5 * mean(lambda t: (t - 0.5) ** 2, FAKE),
    ),
    Hinge(): (
        mean(lambda t: max(0, 1 - t), REAL) + mean(lambda t: max(0, 1 + t), FAKE),
        -mean(float, FAKE),
    ),
    Wasserstein(): (mean(float, FAKE) - mean(float, REAL), -mean(float, FAKE)),
}


@pytest.mark.parametrize("loss", EXPECTED, ids=str)
def test_values_by_hand(loss):
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    discriminator, generator = EXPECTED[loss]
    assert loss.discriminator(real, fake).item() == pytest.approx(discriminator, abs=1e-12)
    assert loss.generator(fake, real).item() == pytest.approx(generator, abs=1e-12)
    if not loss.needs_real:
        assert loss.generator(fake) == loss.generator(fake, real)


@pytest.mark.parametrize("loss", EXPECTED, ids=str)
def test_gradients_equal_finite_differences(loss):
    real, fake = (torch.tensor(scores, dtype=torch.float64, requires_grad=True) for scores in (REAL, FAKE))
    assert torch.autograd.gradcheck(loss.discriminator, (real, fake), eps=1e-6, atol=1e-9, rtol=1e-6)
    assert torch.autograd.gradcheck(loss.generator, (fake, real), eps=1e-6, atol=1e-9, rtol=1e-6)


def generator_slope(loss, score, real=0.0):
    scores = torch.tensor([score], requires_grad=True)
    loss.generator(scores, torch.tensor([real])).backward()
    return scores.grad.item()


def test_the_generators_gradient_survives_rejection_only_without_saturation():
    for score in (-30.0, -200.0, -1e4):
        assert generator_slope(NonSaturating(), score) == pytest.approx(-1.0)
    assert generator_slope(Minimax(), -30.0) == pytest.approx(-math.exp(-30), rel=1e-5)
    assert generator_slope(Minimax(), 30.0) == pytest.approx(-1.0)
    assert generator_slope(NonSaturating(), 0.0) == generator_slope(Minimax(), 0.0) == -0.5


def test_minimax_is_zero_sum():
    real = torch.tensor(REAL, dtype=torch.float64)
    sums = [Minimax().discriminator(real, fake) + Minimax().generator(fake) for fake in torch.randn(5, 3).double()]
    torch.testing.assert_close(torch.stack(sums), sums[0].expand(5))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_discriminator_wants_real_up_and_fake_down_and_the_generator_fake_up(loss):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    target = loss.fake_target if isinstance(loss, LeastSquares) else 0.0
    (loss.discriminator(real, fake + target + 0.1)).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    assert generator_slope(loss, 0.0) < 0


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_losses_and_gradients_are_finite_for_extreme_scores(loss, size):
    real, fake = torch.full((2,), -size, requires_grad=True), torch.full((2,), size, requires_grad=True)
    value = loss.discriminator(real, fake) + loss.generator(fake, real)
    value.backward()
    assert value.isfinite()
    assert real.grad.isfinite().all()
    assert fake.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_losses_are_float32_under_autocast_and_float64_if_given(loss):
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(257, generator=generator).bfloat16() for _ in range(2))
    exact = loss.discriminator(real.double(), fake.double())
    assert exact.dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        value = loss.discriminator(real, fake)
        assert loss.generator(fake, real).dtype == value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_maps_of_scores_count_as_their_entries(loss):
    real, fake = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(loss.discriminator(real, fake), loss.discriminator(real.flatten(), fake.flatten()))
    torch.testing.assert_close(loss.generator(fake, real), loss.generator(fake.flatten(), real.flatten()))


def test_wrong_targets_are_named():
    with pytest.raises(ValueError, match=r"generator_target=nan"):
        LeastSquares(generator_target=math.nan)
    with pytest.raises(ValueError, match=r"real_target=0.0, fake_target=0.0"):
        LeastSquares(real_target=0.0)
    for label in (0.0, -0.5, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"real_label={label}: Minimax"):
            Minimax(real_label=label)


@pytest.mark.parametrize("loss", [RelativisticPairing(), RelativisticAverage()], ids=str)
def test_a_relativistic_generator_is_judged_against_the_data(loss):
    # The plain loss in its place would not see the real scores, nor the difference of two shifted by one number.
    fake, real = torch.randn(5).double(), torch.randn(5).double()
    assert loss.needs_real
    assert loss.generator(fake, real + 1) > loss.generator(fake, real) + 0.1
    torch.testing.assert_close(loss.generator(fake + 3, real + 3), loss.generator(fake, real))
    torch.testing.assert_close(loss.discriminator(real + 3, fake + 3), loss.discriminator(real, fake))
    assert generator_slope(loss, -30.0) < -0.99
    assert generator_slope(loss, 0.0, real=30.0) < -0.99
    # The players exchange the roles of real and fake.
    torch.testing.assert_close(loss.generator(fake, real), loss.discriminator(fake, real))
    with pytest.raises(ValueError, match=f"real_scores=None: .*{type(loss).__name__}"):
        loss.generator(fake)


@pytest.mark.parametrize("loss", ABSOLUTE, ids=str)
def test_other_generators_need_no_data(loss):
    assert not loss.needs_real


def test_pairs_are_by_position_and_complete():
    real, fake = torch.tensor([0.0, 5.0]), torch.tensor([0.0, 5.0])
    assert RelativisticPairing().discriminator(real, fake).item() == pytest.approx(math.log(2))
    assert RelativisticPairing().discriminator(real, fake.flip(0)).item() > 2
    with pytest.raises(ValueError, match=r"real_scores \(2,\), fake_scores \(1,\): RelativisticPairing"):
        RelativisticPairing().discriminator(real, fake[:1])


def test_parts_of_a_batch_add_up_for_pairs_but_not_for_averages():
    real, fake = torch.randn(2, 8).double()
    for loss, adds_up in [(RelativisticPairing(), True), (RelativisticAverage(), False)]:
        parts = [loss.discriminator(*part) for part in zip(real.chunk(2), fake.chunk(2), strict=True)]
        whole = loss.discriminator(real, fake)
        assert torch.allclose(torch.stack(parts).mean(), whole) == adds_up
