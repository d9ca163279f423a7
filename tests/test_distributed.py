"""Two CPU processes do the mathematics of one (strategy left to its default)."""

import pytest
import torch

MODULES = ["GAN", "WGAN", "WGANGP", "PacGAN", "ACGAN", "VAE", "HierarchicalVAE", "CycleGAN"]
DOUBLE = {"CycleGAN"}  # the signs that are L1's gradient turn rounding errors into other steps
STEPS = 20


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    folder = tmp_path_factory.mktemp("distributed")
    for devices in (1, 2):
        jobs = [
            {"name": f"{module}-{devices}", "module": module, "batch_size": 32, "max_steps": STEPS}
            | ({"precision": "64-true"} if module in DOUBLE else {})
            for module in MODULES
        ]
        train(folder, devices, jobs)
    return folder


@pytest.mark.parametrize("module", MODULES)
def test_both_processes_hold_the_same_weights(trained, module, assert_same):
    ranks = [torch.load(trained / f"{module}-2.rank{rank}.pt") for rank in (0, 1)]
    assert_same(ranks[0], ranks[1])


@pytest.mark.parametrize("module", MODULES)
def test_two_processes_equal_one_on_the_joined_batch(trained, module, assert_same):
    one, two = (torch.load(trained / f"{module}-{devices}.rank0.pt") for devices in (1, 2))
    assert two["counters"]["step"] == STEPS
    assert two["counters"]["images_seen"] == STEPS * 32
    assert one["counters"] == two["counters"]
    assert_same(one["weights"], two["weights"], tolerance=1e-5)


@pytest.mark.parametrize("module", MODULES)
def test_training_moved_every_player(trained, module):
    weights = torch.load(trained / f"{module}-2.rank0.pt")["weights"]
    averages = {key: value for key, value in weights.items() if key.startswith("averages.")}
    assert averages
    # The average lags behind what it follows: had nothing moved, they would be equal.
    for key, average in averages.items():
        if average.is_floating_point():
            own = weights[key.removeprefix("averages.").replace(".network.", ".", 1)]
            assert not torch.equal(average, own), key
