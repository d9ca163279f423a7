"""What every penalty promises. A new penalty is one line in `objectives.PENALTIES`, its own options in OPTIONS."""

import copy
import math

import pytest
import torch
from families import assert_bad_options_are_named, assert_is_a_frozen_value, unlisted
from objectives import PENALTIES, Smooth, batches, conv_critic, gradient_of
from torch import nn

import lit_gen.losses
from lit_gen.losses import DRAGAN, R1, FiniteDifference, GradientPenalty, Penalty
from lit_gen.networks import DCGANDiscriminator, MLPDiscriminator

DEFAULTS = [penalty for penalty in PENALTIES if penalty is not None]
OPTIONS = [
    GradientPenalty(one_sided=True),
    GradientPenalty(target=0.0),
    R1(interval=16, correct_optimizer=True, direct=False),
    FiniteDifference(sigma=0.5, full_precision=False),
]

every_penalty = pytest.mark.parametrize("penalty", DEFAULTS + OPTIONS, ids=str)


def test_every_public_penalty_is_listed():
    assert not unlisted(lit_gen.losses, Penalty, DEFAULTS)


@every_penalty
def test_options_are_values_and_wrong_ones_are_named(penalty):
    assert_is_a_frozen_value(penalty)
    assert_bad_options_are_named(penalty)
    make = type(penalty)
    for weight in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"weight={weight}: {make.__name__}"):
            make(weight=weight)
    with pytest.raises(ValueError, match=rf"interval=0: {make.__name__}"):
        make(interval=0)
    with pytest.raises(ValueError, match=rf"correct_optimizer=True, interval=1: {make.__name__}"):
        make(correct_optimizer=True)


@every_penalty
def test_parameter_gradients_equal_finite_differences(penalty):
    real, fake, epsilon = batches(3, 2, 2, penalty=penalty)
    critic = Smooth(3, 2, 2)
    penalty(critic, real, fake, epsilon).backward()
    h = 1e-6
    for parameter in critic.parameters():
        direction = torch.randn(parameter.shape, dtype=torch.float64)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * h * direction
            values.append(penalty(critic, real, fake, epsilon).item())
            with torch.no_grad():
                parameter -= sign * h * direction
        difference = (values[0] - values[1]) / (2 * h)
        assert (parameter.grad * direction).sum().item() == pytest.approx(difference, rel=1e-6)


@every_penalty
def test_the_weight_is_a_factor_and_zero_is_no_penalty(penalty):
    critic, arguments = Smooth(4), batches(4, penalty=penalty)
    value, gradient = gradient_of(penalty, critic, *arguments)
    assert value > 0
    make = {**vars(penalty), "weight": 3 * penalty.weight}
    torch.testing.assert_close(type(penalty)(**make)(critic, *arguments), 3 * value)
    without, no_gradient = gradient_of(type(penalty)(**{**make, "weight": 0.0}), critic, *arguments)
    assert without == 0
    assert no_gradient.shape == gradient.shape
    assert not no_gradient.any()


@every_penalty
@pytest.mark.parametrize(
    "critic", [MLPDiscriminator((3, 8, 8)), DCGANDiscriminator((3, 8, 8), width=4, norm="layer")], ids=["mlp", "conv"]
)
def test_a_sample_is_penalised_by_itself(penalty, critic):
    critic, (real, fake, epsilon) = copy.deepcopy(critic).double(), batches(3, 8, 8, n=4, penalty=penalty)
    whole = penalty(critic, real, fake, epsilon)
    assert whole.shape == ()
    one_by_one = [penalty(critic, real[i : i + 1], fake[i : i + 1], epsilon[i : i + 1]) for i in range(len(real))]
    torch.testing.assert_close(whole, torch.stack(one_by_one).mean())
    torch.testing.assert_close(penalty(critic, real.flip(0), fake.flip(0), epsilon.flip(0)), whole)


@every_penalty
@pytest.mark.parametrize("shape", [(1,), (5,), (1, 3, 2)])
def test_uniform_numbers_of_the_declared_shape_are_taken(penalty, shape):
    """Any shape of a sample, and any numbers from [0, 1): both ends of torch.rand's float32 leave it finite."""
    critic, (real, fake, epsilon) = Smooth(*shape), batches(*shape, penalty=penalty)
    assert epsilon.shape in (real.shape, real.shape[:1], (len(real), 2, *shape))
    for numbers in (epsilon, torch.zeros_like(epsilon), torch.full_like(epsilon, 1 - 2**-24)):
        value, gradient = gradient_of(penalty, critic, real, fake, numbers)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert value == penalty(critic, real, fake, numbers)  # no randomness beside the numbers


@every_penalty
def test_a_flat_critic_gives_finite_gradients(penalty):
    real, fake, epsilon = batches(2, dtype=torch.float32, penalty=penalty)
    critic = MLPDiscriminator((2,), width=4)
    for parameter in critic.parameters():
        nn.init.zeros_(parameter)
    value = penalty(critic, real, fake, epsilon)
    value.backward()
    flat = 10.0 if penalty in (GradientPenalty(), DRAGAN()) else 0.0
    assert value.item() == pytest.approx(flat, rel=1e-4, abs=1e-6)
    assert all(parameter.grad.isfinite().all() for parameter in critic.parameters() if parameter.grad is not None)


@every_penalty
def test_no_gradient_goes_to_the_generator_and_none_is_needed_around(penalty):
    critic = Smooth(2)
    real, fake, epsilon = batches(2, penalty=penalty)
    fake.requires_grad_()
    penalty(critic, real, fake, epsilon).backward()
    with torch.no_grad():
        assert penalty(critic, real, fake, epsilon).isfinite()
    assert fake.grad is None


@every_penalty
def test_float16_autocast_leaves_the_penalty_in_float32(penalty):
    critic = conv_critic()
    real, fake, epsilon = batches(3, 32, 32, dtype=torch.float32, n=3, penalty=penalty)
    real, fake = real.half(), fake.half()
    value, exact = gradient_of(penalty, critic, real.float(), fake.float(), epsilon)
    dtypes = []
    critic.blocks[1].residual[2].register_forward_hook(lambda *call: dtypes.append(call[-1].dtype))

    def under_autocast(*arguments):  # the backward pass is outside, as a trainer's
        with torch.autocast("cpu", torch.float16):
            return penalty(*arguments)

    mixed_value, mixed = gradient_of(under_autocast, critic, real, fake, epsilon)
    with torch.autocast("cpu", torch.float16):
        assert penalty(lambda x: critic(x), real, fake, epsilon).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu")
    assert dtypes in ([torch.float32] * 2, [torch.float32] * 4)  # two scores of each image, by finite differences
    torch.testing.assert_close(mixed_value, value, rtol=1e-3, atol=1e-5)  # between real and fake, in half
    torch.testing.assert_close(mixed, exact, rtol=1e-2, atol=1e-2 * exact.abs().max().item())


@pytest.mark.filterwarnings("ignore:FiniteDifference. with sigma")  # as it should: losses/test_finite_difference.py
@every_penalty
def test_true_bfloat16_networks_get_points_in_their_precision(penalty):
    critic = conv_critic().bfloat16()
    real, fake, epsilon = batches(3, 32, 32, dtype=torch.float32, n=3, penalty=penalty)
    value, gradient = gradient_of(penalty, critic, real, fake.bfloat16(), epsilon)
    assert value.dtype == torch.float32
    assert gradient.isfinite().all()


@every_penalty
def test_batch_norm_is_refused_by_name(penalty):
    with pytest.raises(
        ValueError, match=rf"{type(penalty).__name__} .*'trunk\.3' of DCGAN.*'none', 'layer' or, for images, 'instance'"
    ):
        penalty.check(DCGANDiscriminator((1, 8, 8), width=4, norm="batch"))
    for norm in ("layer", "instance", "none"):
        penalty.check(DCGANDiscriminator((1, 8, 8), width=4, norm=norm))
