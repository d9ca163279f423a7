import torch
from torch import nn

from lit_gen.training.standing import standing_statistics


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2), nn.BatchNorm1d(2)
    ).double()


def test_statistics_are_the_means_over_all_batches():
    source, latents = network().train(), torch.randn(5, 8, 3, dtype=torch.float64)
    standing = standing_statistics(source, latents)
    first = [source[0](z) for z in latents]
    torch.testing.assert_close(standing[1].running_mean, torch.stack([x.mean(0) for x in first]).mean(0))
    torch.testing.assert_close(standing[1].running_var, torch.stack([x.var(0) for x in first]).mean(0))
    # The second layer sees the first one standardised by each batch, and no dropout.
    norm = torch.nn.functional.batch_norm
    second = [source[4](norm(x, None, None, training=True).relu()) for x in first]
    torch.testing.assert_close(standing[5].running_mean, torch.stack([x.mean(0) for x in second]).mean(0))
    torch.testing.assert_close(standing[5].running_var, torch.stack([x.var(0) for x in second]).mean(0))


def test_the_network_itself_is_left_alone():
    source = network().train()
    before = {key: value.clone() for key, value in source.state_dict().items()}
    standing = standing_statistics(source, torch.randn(2, 8, 3).double())
    assert all(torch.equal(value, before[key]) for key, value in source.state_dict().items())
    assert all(layer.training and layer.momentum != 0 for layer in source.modules() if hasattr(layer, "momentum"))
    assert not any(layer.training for layer in standing.modules())
    assert not any(p.requires_grad for p in standing.parameters())


def test_a_copy_made_in_inference_mode_lets_gradients_through():
    with torch.inference_mode():
        standing = standing_statistics(network(), torch.randn(2, 8, 3).double())
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    standing(z).sum().backward()
    assert z.grad.abs().sum() > 0
