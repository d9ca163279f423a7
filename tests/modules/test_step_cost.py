"""A training step computes nothing it doesn't use: its floating-point operations are the least that are needed."""

from functools import partial

import pytest
from test_update import fit
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from datamodules.datasets import InMemoryDataset
from lit_gen import GAN
from lit_gen.losses import Hinge, RelativisticPairing
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator, MLPDiscriminator, MLPGenerator
from lit_gen.networks.layers import LINEAR_LAYERS

N = 16


class Counted(GAN):
    """Counts the operations of every update."""

    def update(self, name, objective, *batch):
        with FlopCounterMode(display=False) as counter:
            super().update(name, objective, *batch)
        self.flops[name] = counter.get_total_flops()


def passes(network, shapes):
    """Operations of one sample: forward; backward to the weights; backward to each layer's input but the first's.

    A layer's three passes cost the same: for every pair of an input and an output unit that a weight joins, one
    multiplication and one addition. `shapes` are the sizes of each layer's maps, the smaller of input and output.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, LINEAR_LAYERS)]
    costs = [2 * layer.weight.numel() * side**2 for layer, side in zip(layers, shapes, strict=True)]
    assert all(isinstance(layer, nn.Linear) for layer, side in zip(layers, shapes, strict=True) if side == 1)
    return sum(costs), sum(costs), sum(costs[1:]), costs[0]


MLP = (partial(MLPGenerator, width=24, depth=2), partial(MLPDiscriminator, width=40, depth=3), [1] * 3, [1] * 4)
# 8 pixels are halved twice: maps of 4 and 2 pixels, a linear layer at the latent's and the score's end.
DCGAN = (
    partial(DCGANGenerator, width=4), partial(DCGANDiscriminator, width=6, norm="layer"), [1, 2, 4], [4, 2, 1],
)  # fmt: skip


@pytest.mark.parametrize(("generator", "discriminator", "g_shapes", "d_shapes"), [MLP, DCGAN], ids=["MLP", "DCGAN"])
@pytest.mark.parametrize("loss", [Hinge(), RelativisticPairing()], ids=str)
def test_steps_cost_the_least(generator, discriminator, g_shapes, d_shapes, loss):
    module = Counted((1, 8, 8), 5, generator, discriminator, loss=loss)
    module.flops = {}
    fit(module, steps=1, batch_size=N)
    g_forward, g_weights, g_inputs, _ = passes(module.generator, g_shapes)
    d_forward, d_weights, d_inputs, d_first = passes(module.discriminator, d_shapes)
    # No graph of the generator, no gradient to the images.
    assert module.flops["discriminator"] == N * g_forward + 2 * N * (d_forward + d_weights + d_inputs)
    # No weight gradients of the discriminator. A relativistic loss also scores the batch's images, without a graph.
    scored = 2 * N if loss.needs_real else N
    through_d = scored * d_forward + N * (d_inputs + d_first)
    assert module.flops["generator"] == N * (g_forward + g_weights + g_inputs) + through_d


def test_the_real_batches_of_critic_rounds_are_fetched_at_once(monkeypatch):
    fetched, plain = [], InMemoryDataset.__getitems__
    monkeypatch.setattr(
        InMemoryDataset, "__getitems__", lambda self, indices: (fetched.append(len(indices)), plain(self, indices))[1]
    )
    module = GAN((1, 8, 8), 5, *MLP[:2], n_critic=5)
    fit(module, steps=10, batch_size=N)
    assert fetched == [10 * N]  # two whole rounds, as eight batches at least are fetched
    assert module.updates == {"discriminator": 10, "generator": 2}
