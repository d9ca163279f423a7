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


def test_pairs_are_by_position_and_complete():
    real, fake = torch.tensor([0.0, 5.0]), torch.tensor([0.0, 5.0])
    assert RelativisticPairing().discriminator(real, fake).item() == pytest.approx(math.log(2))
    assert RelativisticPairing().discriminator(real, fake.flip(0)).item() > 2
    with pytest.raises(ValueError, match=r"real_scores \(2,\), fake_scores \(1,\): RelativisticPairing"):
        RelativisticPairing().discriminator(real, fake[:1])
