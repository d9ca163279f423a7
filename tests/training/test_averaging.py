import pytest
import torch
from torch import nn

from lit_gen.training.averaging import ExponentialMovingAverage


def test_average_halves_its_distance_every_half_life():
    network = nn.Linear(3, 2).double()
    average = ExponentialMovingAverage(network, half_life=1000)
    start = network.weight.detach().float().clone()
    with torch.no_grad():
        network.weight.copy_(start + 8.0)
    for _ in range(30):  # three half-lives in updates of 100 images
        average.follow(network, images=100)
    torch.testing.assert_close(average.network.weight, start + 7.0, rtol=1e-5, atol=1e-5)


def test_closed_form_for_moving_weights():
    network = nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(network, half_life=64)
    decay, expected = 0.5 ** (32 / 64), network.weight.item()
    for step in range(20):
        nn.init.constant_(network.weight, float(step))
        average.follow(network, images=32)
        expected = decay * expected + (1 - decay) * step
    assert average.network.weight.item() == pytest.approx(expected, rel=1e-5)


def test_average_stays_in_float32_and_eval_mode_without_gradients():
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout()).to(torch.bfloat16)
    average = ExponentialMovingAverage(network, half_life=100)
    outer = nn.ModuleList([average]).train()
    assert not any(module.training for module in average.modules())
    assert outer.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in average.parameters())


def test_small_steps_do_not_stall():
    # In bfloat16 arithmetic an average with this decay would never move.
    network = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    nn.init.ones_(network.weight)
    average = ExponentialMovingAverage(network, half_life=10_000 * 64)
    nn.init.constant_(network.weight, 2.0)
    for _ in range(1000):
        average.follow(network, images=64)
    assert average.network.weight.item() == pytest.approx(2 - 0.5 ** (1000 / 10_000), rel=1e-4)


def test_batch_statistics_are_copied():
    network = nn.BatchNorm1d(3)
    average = ExponentialMovingAverage(network, half_life=1e9)
    network(torch.randn(50, 3) + 4)
    average.follow(network, images=50)
    assert torch.equal(average.network.running_mean, network.running_mean)
    assert average.network.num_batches_tracked == 1


def test_ramp_up_bounds_the_half_life_by_a_share_of_the_images_seen():
    network = nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(network, half_life=100, ramp_up=0.05)
    expected = network.weight.item()
    for step in range(1, 200):
        seen = 32 * step
        nn.init.constant_(network.weight, float(step))
        average.follow(network, images=32, images_seen=seen)
        decay = 0.5 ** (32 / min(100, 0.05 * seen))
        expected = decay * expected + (1 - decay) * step
    assert 0.05 * 32 < 100 < 0.05 * 32 * 199  # both cases were met
    assert average.network.weight.item() == pytest.approx(expected, rel=1e-5)


def test_the_first_update_of_a_ramp_forgets_the_initial_weights():
    network = nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(network, half_life=1e9, ramp_up=0.05)
    nn.init.constant_(network.weight, 7.0)
    average.follow(network, images=32, images_seen=32)
    assert average.network.weight.item() == pytest.approx(7.0, rel=1e-5)


@pytest.mark.parametrize("ramp_up", [0.0, -1.0, float("nan")])
def test_ramps_out_of_range(ramp_up):
    with pytest.raises(ValueError, match=f"ema_ramp_up={ramp_up}"):
        ExponentialMovingAverage(nn.Linear(1, 1), half_life=1.0, ramp_up=ramp_up)
