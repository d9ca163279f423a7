import pytest
import torch
from torch import nn

from lit_gen.networks import has_batch_norm
from lit_gen.networks.layers import batch_norm_layers, norm_1d, norm_2d

X = torch.randn(6, 4, 5, 7, dtype=torch.float64) * 3 + 2


@pytest.mark.parametrize(("norm", "dims"), [("batch", (0, 2, 3)), ("layer", (1, 2, 3)), ("instance", (2, 3))])
def test_norms_of_maps_standardise_over_their_dimensions(norm, dims):
    layer = norm_2d(norm, 4).double()
    mean, variance = X.mean(dims, keepdim=True), X.var(dims, unbiased=False, keepdim=True)
    torch.testing.assert_close(layer(X), (X - mean) / (variance + 1e-5).sqrt())
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {"weight": (4,), "bias": (4,)}


@pytest.mark.parametrize(("norm", "dim"), [("batch", 0), ("layer", 1)])
def test_norms_of_vectors_standardise_over_their_dimension(norm, dim):
    x = X[:, :, 0, 0]
    mean, variance = x.mean(dim, keepdim=True), x.var(dim, unbiased=False, keepdim=True)
    torch.testing.assert_close(norm_1d(norm, 4).double()(x), (x - mean) / (variance + 1e-5).sqrt())


@pytest.mark.parametrize("layer", [norm_2d("batch", 4), norm_1d("batch", 4)])
def test_batch_norms_small_number_is_its_eps_and_its_momentum_the_usual(layer):
    assert layer.eps == 1e-5
    assert layer.momentum == 0.1


def test_none_is_the_identity():
    assert torch.equal(norm_2d("none", 4)(X), X)
    assert torch.equal(norm_1d("none", 4)(X), X)


def test_unknown_norms_are_named():
    with pytest.raises(ValueError, match="norm='bathc': feature maps take 'batch', 'layer', 'instance' or 'none'"):
        norm_2d("bathc", 4)
    with pytest.raises(ValueError, match="norm='instance': vectors take 'batch', 'layer' or 'none'"):
        norm_1d("instance", 4)


def test_batch_norm_is_found_at_any_depth_and_other_norms_are_not():
    network = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"inner": nn.Sequential(nn.SyncBatchNorm(2))}))
    assert batch_norm_layers(network) == ["1.inner.0"]
    for layer in (nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2)):
        assert has_batch_norm(layer)
    others = [nn.GroupNorm(1, 2), nn.InstanceNorm2d(2, affine=True), nn.LayerNorm(2)]
    assert not has_batch_norm(nn.Sequential(*others))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("innermost", [False, True], ids=["channels first", "channels last"])
def test_instance_norms_gradient_is_right_for_one_image_however_it_comes(n, innermost):
    x, g = X[:n].clone().requires_grad_(), X[-n:].sin().to(memory_format=torch.channels_last)
    norm = norm_2d("instance", 4).double()
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    (exact,) = torch.autograd.grad((x - mean) / (variance + 1e-5).sqrt(), x, g)
    given = x.to(memory_format=torch.channels_last) if innermost else x
    (ours,) = torch.autograd.grad(norm(given), x, g)
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-12)
