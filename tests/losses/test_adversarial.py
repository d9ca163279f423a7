import math

import pytest
import torch

from lit_gen.losses import Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein

LOSSES = [NonSaturating(), Minimax(), LeastSquares(), Hinge(), Wasserstein()]
REAL, FAKE = [2.0, -1.5, 0.25], [-3.0, 0.5, 1.0]


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
    assert loss.generator(fake).item() == pytest.approx(generator, abs=1e-12)


def generator_slope(loss, score):
    scores = torch.tensor([score], requires_grad=True)
    loss.generator(scores).backward()
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
    value = loss.discriminator(real, fake) + loss.generator(fake)
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
        assert loss.generator(fake).dtype == value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_maps_of_scores_count_as_their_entries(loss):
    real, fake = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(loss.discriminator(real, fake), loss.discriminator(real.flatten(), fake.flatten()))
    torch.testing.assert_close(loss.generator(fake), loss.generator(fake.flatten()))


def test_wrong_targets_are_named():
    with pytest.raises(ValueError, match=r"generator_target=nan"):
        LeastSquares(generator_target=math.nan)
    with pytest.raises(ValueError, match=r"real_target=0.0, fake_target=0.0"):
        LeastSquares(real_target=0.0)
