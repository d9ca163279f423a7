import copy

import pytest
import torch
from torch import nn

from lit_gen.optimizers import GANAdam, VAEAdam, WGANGPAdam


@pytest.mark.parametrize("optimizer", [GANAdam, VAEAdam, WGANGPAdam])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_fused_steps_are_the_plain_ones(optimizer, dtype, tolerance):
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)]
    networks.append(copy.deepcopy(networks[0]))
    fused, plain = optimizer(networks[0].parameters()), optimizer(networks[1].parameters(), fused=False)
    assert fused.defaults["fused"]
    assert not plain.defaults["fused"]
    for _ in range(20):
        x = torch.randn(16, 6, dtype=dtype)
        for network, step in zip(networks, (fused, plain), strict=True):
            step.zero_grad()
            network(x).square().mean().backward()
            step.step()
    weights = [nn.utils.parameters_to_vector(network.parameters()) for network in networks]
    torch.testing.assert_close(*weights, rtol=0, atol=tolerance)


def test_groups_and_other_devices():
    weight = nn.Parameter(torch.zeros(2))
    assert GANAdam([{"params": [weight], "lr": 0.1}]).defaults["fused"]
    assert not GANAdam([nn.Parameter(torch.zeros(2, device="meta"))]).defaults["fused"]


def test_steps_on_a_cpu_do_not_ask_for_an_accelerator(monkeypatch):
    """PyTorch's name of the check is private: an upgrade may change it."""
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    asked = []
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *a, **k: asked.append(1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: asked.append(1))
    GANAdam([weight]).step()
    assert not asked
    torch.optim.Adam([weight]).step()
    assert asked
