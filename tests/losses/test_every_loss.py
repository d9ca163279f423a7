"""What every adversarial loss promises. A new loss is one line in `objectives.LOSSES`, its own options in OPTIONS."""

import pytest
import torch
from families import assert_bad_options_are_named, assert_is_a_frozen_value, unlisted
from objectives import LOSSES

import lit_gen.losses
from lit_gen.losses import AdversarialLoss, LeastSquares, Minimax, NonSaturating, RelativisticAverage

OPTIONS = [NonSaturating(0.9), Minimax(0.8), LeastSquares(0.9, -1.0, 0.5)]
COUPLED = (RelativisticAverage,)  # compare each score with its batch's mean: no mean over samples

every_loss = pytest.mark.parametrize("loss", LOSSES + OPTIONS, ids=str)


def test_every_public_loss_is_listed():
    assert not unlisted(lit_gen.losses, AdversarialLoss, LOSSES)


def scores(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype) for _ in range(2)]


def both(loss, real, fake):
    """The losses of discriminator and generator."""
    return torch.stack([loss.discriminator(real, fake), loss.generator(fake, real)])


@every_loss
def test_options_are_values_and_wrong_ones_are_named(loss):
    assert_is_a_frozen_value(loss)
    assert_bad_options_are_named(loss)


@every_loss
def test_gradients_equal_finite_differences(loss):
    real, fake = (x.requires_grad_() for x in scores(3, seed=1))
    assert torch.autograd.gradcheck(loss.discriminator, (real, fake), eps=1e-6, atol=1e-9, rtol=1e-6)
    assert torch.autograd.gradcheck(loss.generator, (fake, real), eps=1e-6, atol=1e-9, rtol=1e-6)


@every_loss
def test_the_discriminator_wants_real_up_and_fake_down_and_the_generator_fake_up(loss):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    target = loss.fake_target if isinstance(loss, LeastSquares) else 0.0
    (loss.discriminator(real, fake + target + 0.1)).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    rejected = torch.zeros(4, requires_grad=True)
    loss.generator(rejected, torch.zeros(4)).backward()
    assert (rejected.grad < 0).all()


@every_loss
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_losses_and_gradients_are_finite_for_extreme_scores(loss, size):
    real, fake = torch.full((2,), -size, requires_grad=True), torch.full((2,), size, requires_grad=True)
    value = loss.discriminator(real, fake) + loss.generator(fake, real)
    value.backward()
    assert value.isfinite()
    assert real.grad.isfinite().all()
    assert fake.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize("autocast", [True, False])
def test_losses_are_float32_for_bfloat16_and_float64_if_given(loss, autocast):
    real, fake = scores(257, dtype=torch.bfloat16)
    exact = both(loss, real.double(), fake.double())
    assert exact.dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        values = [loss.discriminator(real, fake), loss.generator(fake, real)]
    assert [value.dtype for value in values] == [torch.float32] * 2
    torch.testing.assert_close(torch.stack(values).double(), exact, rtol=1e-5, atol=1e-6)


@every_loss
@pytest.mark.parametrize("shape", [(1,), (12, 1), (3, 1, 4, 4)])
def test_maps_of_scores_count_as_their_entries_and_give_scalars(loss, shape):
    real, fake = scores(*shape)
    assert loss.discriminator(real, fake).shape == loss.generator(fake, real).shape == ()
    torch.testing.assert_close(both(loss, real, fake), both(loss, real.flatten(), fake.flatten()))


@every_loss
def test_the_order_of_samples_is_of_no_account(loss):
    real, fake = scores(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(both(loss, real[order], fake[order]), both(loss, real, fake))


@every_loss
def test_a_loss_is_the_mean_over_samples_unless_it_couples_the_batch(loss):
    real, fake = scores(12)
    halves = [both(loss, *part) for part in zip(real.chunk(2), fake.chunk(2), strict=True)]
    same = torch.isclose(torch.stack(halves).mean(0), both(loss, real, fake))
    assert same.all() if not isinstance(loss, COUPLED) else not same.any()


@every_loss
def test_a_generator_that_needs_no_data_ignores_them(loss):
    real, fake = scores(5)
    if loss.needs_real:
        with pytest.raises(ValueError, match=f"real_scores=None: .*{type(loss).__name__}"):
            loss.generator(fake)
        assert not torch.isclose(loss.generator(fake, real), loss.generator(fake, real + 1))
    else:
        assert loss.generator(fake) == loss.generator(fake, real) == loss.generator(fake, real + 1)
