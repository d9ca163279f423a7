import math

import pytest
import torch
from torch import nn

from lit_gen.losses import R1R2
from lit_gen.networks import (
    DCGANDiscriminator,
    MinibatchDiscrimination,
    MinibatchStdDev,
    MLPDiscriminator,
    couples_batch,
    has_batch_norm,
)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 2)], ids=str)
def test_the_standard_deviation_is_one_more_feature(shape):
    x = torch.randn(6, *shape, dtype=torch.float64)
    entries = x.flatten(1)
    deviations = [math.sqrt(sum((v - column.mean()) ** 2 for v in column) / 6) for column in entries.T]
    output = MinibatchStdDev()(x)
    assert output.shape == (6, 6, *shape[1:])
    assert torch.equal(output[:, :5], x)
    torch.testing.assert_close(output[:, 5], torch.full((6, *shape[1:]), sum(deviations) / len(deviations)).double())


def test_a_collapsed_batch_shows_and_keeps_finite_gradients():
    same = torch.ones(4, 3, 2, 2, requires_grad=True)
    output = MinibatchStdDev()(same)
    output.sum().backward()
    assert output[:, 3].max() < 1e-3
    assert same.grad.isfinite().all()
    assert MinibatchStdDev()(torch.randn(4, 3, 2, 2))[:, 3].min() > 0.1
    assert MinibatchStdDev()(torch.randn(1, 3, 2, 2)).isfinite().all()


def test_minibatch_discrimination_by_the_paper_s_sums():
    layer = MinibatchDiscrimination(4, num_kernels=3, kernel_dim=2).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    t = layer.project.weight.detach().reshape(3, 2, 4)
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for i in range(5):
        for b in range(3):
            expected[i, b] = sum(torch.exp(-(t[b] @ x[i] - t[b] @ x[j]).abs().sum()) for j in range(5))
    output = layer(x)
    assert torch.equal(output[:, :4], x)
    torch.testing.assert_close(output[:, 4:], expected)
    torch.testing.assert_close(layer(x[:1].expand(5, 4))[:, 4:], torch.full((5, 3), 5.0).double())


@pytest.mark.parametrize("minibatch", ["stddev", "discrimination"])
def test_discriminators_compare_only_when_asked(minibatch):
    x = torch.randn(4, 1, 8, 8)
    for make in (MLPDiscriminator, DCGANDiscriminator):
        plain, comparing = (
            make((1, 8, 8), width=4, norm="none"),
            make((1, 8, 8), width=4, norm="none", minibatch=minibatch),
        )
        assert comparing(x).shape == (4,)
        torch.testing.assert_close(plain(x)[:2], plain(x[:2]))
        assert not torch.allclose(comparing(x)[:2], comparing(x[:2]), atol=1e-7)
        assert couples_batch(comparing)
        assert not couples_batch(plain)
        assert not has_batch_norm(comparing)
    assert couples_batch(nn.Sequential(nn.BatchNorm1d(2)))


def test_the_standard_deviation_of_maps_is_one_map():
    added = {
        minibatch: DCGANDiscriminator((1, 8, 8), width=4, norm="none", minibatch=minibatch).trunk[-1].in_features
        for minibatch in ("none", "stddev", "discrimination")
    }
    assert added == {"none": 32, "stddev": 36, "discrimination": 64}


def test_real_and_fake_do_not_mix_in_a_joint_penalty():
    critic = MLPDiscriminator((3,), width=8, minibatch="stddev").double()
    real, fake, zeros = torch.randn(4, 3).double(), 9 * torch.randn(4, 3).double(), torch.zeros(4, 3).double()
    R1R2().check(critic)

    def penalty(real, fake):
        return R1R2()(critic, real, fake, torch.rand(4))

    torch.testing.assert_close(penalty(real, fake) + penalty(zeros, zeros), penalty(real, zeros) + penalty(zeros, fake))


@pytest.mark.parametrize("make", [MLPDiscriminator, DCGANDiscriminator])
def test_wrong_names_and_sizes(make):
    with pytest.raises(ValueError, match="minibatch='std': 'none', 'stddev' or 'discrimination'"):
        make((1, 8, 8), minibatch="std")
    with pytest.raises(ValueError, match="kernel_dim=0: MinibatchDiscrimination"):
        MinibatchDiscrimination(4, kernel_dim=0)
