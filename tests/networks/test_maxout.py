import pytest
import torch

from lit_gen.networks import MaxoutMLPDiscriminator
from lit_gen.networks.maxout import Maxout


def test_a_unit_is_the_largest_of_its_affine_functions():
    layer = Maxout(3, width=4, pieces=5).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    weight, bias = layer.affine.weight.reshape(5, 4, 3), layer.affine.bias.reshape(5, 4)
    for n in range(6):
        for unit in range(4):
            pieces = [weight[piece, unit] @ x[n] + bias[piece, unit] for piece in range(5)]
            torch.testing.assert_close(layer(x)[n, unit], max(pieces))


@pytest.mark.parametrize("pack", [1, 2, 4])
def test_the_published_discriminator_at_any_packing(pack):
    # arXiv:1712.04086, section 4.1: 2m inputs, three layers of 200 units of 5 pieces, one score
    critic = MaxoutMLPDiscriminator((2 * pack,))
    hidden = [(2 * pack + 1) * 1000, 201 * 1000, 201 * 1000]
    assert sum(parameter.numel() for parameter in critic.parameters()) == sum(hidden) + 201
    assert critic(torch.randn(7, 2 * pack)).shape == (7,)


def test_a_critic_of_maxout_units_and_nonnegative_scores_is_convex():
    critic = MaxoutMLPDiscriminator((2,), width=6, depth=1, pieces=4).double()
    with torch.no_grad():
        critic.layers[-1].weight.abs_()
    a, b = torch.randn(50, 2).double(), torch.randn(50, 2).double()
    middle, mean = critic((a + b) / 2), (critic(a) + critic(b)) / 2
    assert (middle <= mean + 1e-12).all()
    assert (middle < mean - 1e-6).any()


def test_wrong_sizes_are_named():
    for wrong in ({"width": 0}, {"depth": -1}, {"pieces": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}.*: MaxoutMLPDiscriminator needs a width"):
            MaxoutMLPDiscriminator((2,), **wrong)
