"""`FiniteDifference` against closed forms and the exact penalty, and the loss to rounding that it measures."""

import math
import re
import warnings

import pytest
import torch
from objectives import Smooth, batches, conv_critic, gradient_of
from torch import nn

from lit_gen.losses import R1R2, FiniteDifference
from lit_gen.models.judge import BothViewed, Judge
from lit_gen.networks import MLPDiscriminator
from lit_gen.networks.minibatch import MinibatchStdDev
from lit_gen.training.augmentation import DiffAugment
from lit_gen.training.view import View

MANY = 40_000


def many(real, fake):
    """One real and one generated point, often, with normal directions that have seeds."""
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(MANY, 2, *real.shape, dtype=torch.float64, generator=generator)
    return real.expand(MANY, *real.shape), fake.expand(MANY, *fake.shape), uniform


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 10.0])
def test_a_linear_critic_is_penalised_by_its_squared_norm_whatever_sigma(sigma):
    """(w·n)², by hand for every sample, and in expectation ‖w‖², within four standard errors of the mean."""
    w, arguments = torch.tensor([3.0, -1.0, 2.0]).double(), many(torch.randn(3).double(), torch.randn(3).double())
    value = FiniteDifference(0.6, sigma=sigma)(lambda x: x @ w + 5.0, *arguments).item()
    slopes = torch.distributions.Normal(0.0, 1.0).icdf(arguments[2]) @ w
    assert value == pytest.approx(0.3 * slopes.square().sum(1).mean().item(), rel=1e-9)
    assert value == pytest.approx(0.3 * 2 * 14, rel=4 * math.sqrt(2 / (2 * MANY)))


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_a_quadratic_critic_adds_the_bias_that_the_docstring_says(sigma):
    """E = ‖g‖² + σ²(½‖H‖²_F + ¼(tr H)²), within five standard errors of the mean."""
    h = torch.tensor([[2.0, 0.5, 0.0], [0.5, -1.0, 0.3], [0.0, 0.3, 1.5]]).double()
    real, fake = torch.tensor([1.0, 0.5, -1.0]).double(), torch.tensor([-0.3, 0.2, 0.4]).double()
    arguments = many(real, fake)

    def critic(x):
        return 0.5 * ((x @ h) * x).sum(-1)

    bias = sigma**2 * (0.5 * h.square().sum() + 0.25 * h.trace() ** 2)
    expected = 0.5 * sum((h @ x).square().sum() + bias for x in (real, fake))
    normal = torch.distributions.Normal(0.0, 1.0).icdf(arguments[2])
    samples = [((critic(x + sigma * normal[:, i]) - critic(x)) / sigma).square() for i, x in enumerate((real, fake))]
    error = 0.5 * torch.stack(samples).sum(0).std() / math.sqrt(MANY)
    value = FiniteDifference(1.0, sigma=sigma)(critic, *arguments)
    assert abs(value - expected) < 5 * error
    assert 5 * error < bias or sigma < 1  # the bias shows at the larger sigma


@pytest.mark.parametrize("shape", [(2,), (2, 3, 3)], ids=str)
def test_it_tends_to_the_exact_penalty_along_every_direction(shape):
    """With n = √d e_i for each of the d axes in turn, the mean square is the norm's, up to O(σ)."""
    d, errors = math.prod(shape), []
    real, fake, _ = batches(*shape, n=1)
    axes = math.sqrt(d) * torch.eye(d).double().reshape(d, *shape)
    uniform = torch.distributions.Normal(0.0, 1.0).cdf(axes).unsqueeze(1).expand(d, 2, *shape)
    real, fake, critic = real.expand(d, *shape), fake.expand(d, *shape), Smooth(*shape)
    exact, exact_gradient = gradient_of(R1R2(7.0), critic, real, fake, torch.rand(d))
    for sigma in (1e-3, 1e-4, 1e-5):
        value, gradient = gradient_of(FiniteDifference(7.0, sigma=sigma), critic, real, fake, uniform)
        errors.append((value / exact - 1).abs().item())
        assert errors[-1] < 30 * sigma
        assert (gradient - exact_gradient).norm() < 100 * sigma * exact_gradient.norm()
    assert errors[2] < errors[0] / 30


def test_patches_are_summed_as_the_exact_penalty_sums_them():
    real, fake, uniform = batches(4, penalty=FiniteDifference())
    w = torch.randn(4, 3, dtype=torch.float64)

    def patches(x):
        return (x @ w).reshape(-1, 1, 1, 3)

    values = [FiniteDifference()(critic, real, fake, uniform) for critic in (patches, lambda x: (x @ w).sum(1))]
    torch.testing.assert_close(values[0], values[1])


def test_spectral_norm_is_the_same_in_both_scores():
    """A power iteration between the two would show as a slope of its own; here the two points are one."""
    torch.manual_seed(0)
    critic = MLPDiscriminator((6,), width=16, spectral_norm=True).double().train()
    real, fake, uniform = batches(6, penalty=FiniteDifference())
    assert FiniteDifference()(critic, real, fake, torch.full_like(uniform, 0.5)).item() == 0


def test_a_critic_that_compares_samples_sees_four_batches():
    class Comparing(nn.Sequential):
        def __init__(self):
            super().__init__(MinibatchStdDev(), nn.Flatten(), nn.LazyLinear(1))

    real, fake, uniform = batches(2, 4, 4, penalty=FiniteDifference())
    critic = Comparing().double()
    critic(real)
    normal, penalty = torch.distributions.Normal(0.0, 1.0).icdf(uniform), FiniteDifference(2.0, sigma=0.1)
    slopes = [(critic(x + 0.1 * normal[:, i]) - critic(x)) / 0.1 for i, x in enumerate((real, fake))]
    torch.testing.assert_close(penalty(critic, real, fake, uniform), sum(s.square().mean() for s in slopes))


def test_it_looks_through_the_augmentation_that_each_half_gets():
    shape, n, augmentation = (2, 4, 4), 3, DiffAugment()
    penalty, view = FiniteDifference(2.0, sigma=0.1), View(augmentation=augmentation, image_shape=shape)
    real, fake, uniform = batches(*shape, n=n, penalty=penalty)
    critic, numbers = Smooth(*shape), torch.rand(2, n, augmentation.numbers(shape), dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0).icdf(uniform)
    ends = [
        (critic(augmentation(x + 0.1 * normal[:, i], numbers[i])) - critic(augmentation(x, numbers[i]))) / 0.1
        for i, x in enumerate((real, fake))
    ]
    value = penalty(BothViewed(Judge(critic), view, *numbers), real, fake, uniform)
    torch.testing.assert_close(value, sum(end.square().mean() for end in ends))


def test_the_loss_to_rounding_is_told_once_and_the_default_has_none():
    real, fake, uniform = batches(3, 32, 32, dtype=torch.float32, n=4, penalty=FiniteDifference())
    critic = conv_critic()
    exact = FiniteDifference()(critic, real, fake, uniform).item()
    with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert FiniteDifference()(critic, real, fake, uniform).item() == exact  # float32, and says nothing
    ambient = FiniteDifference(full_precision=False)
    with torch.autocast("cpu", torch.bfloat16):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            wrong = [ambient(critic, real, fake, uniform).item() for _ in range(5)]
        (message,) = (str(each.message) for each in told)
        assert re.search(r"sigma=0\.01 .* times the squared slope .*full_precision=True.*R1R2$", message)
        assert min(wrong) > 2 * exact  # the warning is right
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ambient(critic, real, fake, uniform).item() == exact  # no autocast: float32 is the ambient precision


def test_a_sigma_above_the_rounding_and_weights_in_bfloat16():
    real, fake, uniform = batches(3, 32, 32, dtype=torch.float32, n=4, penalty=FiniteDifference())
    critic, coarse = conv_critic(), FiniteDifference(sigma=0.5, full_precision=False)
    exact = FiniteDifference(sigma=0.5)(critic, real, fake, uniform)
    with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(coarse(critic, real, fake, uniform), exact, rtol=0.1, atol=0)
    with pytest.warns(UserWarning, match=r"weights in float32"):  # full precision can't help weights that have none
        FiniteDifference()(critic.bfloat16(), real, fake, uniform)


def test_measuring_leaves_the_critic_as_it_is():
    """Spectral norm's vectors move by the penalty's own pass alone, not by the measurement's."""
    torch.manual_seed(0)
    critic = MLPDiscriminator((6,), width=16, spectral_norm=True).train()
    real, fake, uniform = batches(6, dtype=torch.float32, penalty=FiniteDifference())
    start, ends = {name: t.clone() for name, t in critic.state_dict().items()}, []
    for _ in range(2):  # with a measurement and, at the third call, without
        critic.load_state_dict(start)
        with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            FiniteDifference(full_precision=False)(critic, real, fake, uniform)
        ends.append({name: t.clone() for name, t in critic.state_dict().items()})
        with torch.autocast("cpu", torch.bfloat16):
            FiniteDifference(full_precision=False)(critic, real, fake, uniform)
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in start)


def test_mistakes_are_named():
    for sigma in (0.0, -0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"sigma={sigma}: FiniteDifference needs a finite number above 0"):
            FiniteDifference(sigma=sigma)
    with pytest.raises(ValueError, match=r"real \(4, 2\), fake \(3, 2\), epsilon \(4, 2, 2\): FiniteDifference"):
        FiniteDifference()(Smooth(2), torch.zeros(4, 2), torch.zeros(3, 2), torch.zeros(4, 2, 2))
    with pytest.raises(ValueError, match=r"epsilon \(4,\): FiniteDifference .* \(N, 2, \*\)"):
        FiniteDifference()(Smooth(2), torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(ValueError, match=r"layer '1' of Sequential is dropout"):
        FiniteDifference().check(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2)))
    FiniteDifference().check(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))


def test_a_sigma_that_float32_does_not_hold_is_refused():
    x, epsilon = torch.zeros(2, 3), torch.full((2, 2, 3), 0.3)
    with pytest.raises(
        ValueError, match=r"sigma=1e-09: FiniteDifference needs 1e-05 or more, but for images in float64"
    ):
        FiniteDifference(sigma=1e-9)(lambda images: images.sum(1), x, x, epsilon)
    assert FiniteDifference(sigma=1e-9)(lambda images: images.sum(1), x.double(), x.double(), epsilon.double()) > 0
