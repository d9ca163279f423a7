"""Batch norm over all processes is batch norm over the joined batch, forwards and backwards."""

import copy

import pytest
import torch
from process_group import in_group
from torch import nn

from lit_gen import GAN
from lit_gen.networks.layers import batch_norm_layers
from lit_gen.training.processes import BatchNormSync
from lit_gen.training.standing import standing_statistics
from lit_gen.training.sync_batch_norm import SynchronisedBatchNorm

LAYERS = {
    "vectors": (lambda: nn.BatchNorm1d(3), (8, 3)),
    "maps": (lambda: nn.BatchNorm2d(3, momentum=None), (8, 3, 2, 2)),
    "plain": (lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False), (8, 3, 2, 2)),
}


def case(name):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, x, weights = make().double(), torch.randn(shape).double() * 3 + 100, torch.randn(shape).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer, x, weights


def passed(layer, x, weights):
    """Outputs of two batches, the gradients of a loss on them and the gradients of those gradients' squares."""
    x = x.clone().requires_grad_()
    layer(x.detach() / 2)
    y = layer(x)
    inputs = [x, *layer.parameters()]
    first = torch.autograd.grad((weights * y.exp().clamp(max=50)).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), inputs, allow_unused=True, materialize_grads=True)
    return {
        "y": y.detach(), "x": [g[0].detach() for g in (first, second)], "buffers": dict(layer.named_buffers()),
        "parameters": [[g.detach() for g in gradients[1:]] for gradients in (first, second)],
    }  # fmt: skip


def in_parts():
    """One process: uneven parts of the batch, the first of rank 0. Without a group the layer is a local one."""
    local = {name: passed(BatchNormSync().apply(case(name)[0]), *case(name)[1:]) for name in LAYERS}
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    rows = slice(0, 5) if rank == 0 else slice(5, 8)
    shared = {}
    for name in LAYERS:
        layer, x, weights = case(name)
        shared[name] = passed(BatchNormSync().apply(layer), x[rows], weights[rows])
    layer, x, _ = case("maps")
    alone = standing_statistics(BatchNormSync().apply(nn.Sequential(layer)), [x])[0].running_mean if rank == 0 else None
    half = BatchNormSync().apply(nn.BatchNorm2d(3))(x[rows].bfloat16())
    return {"local": local, "shared": shared, "alone": alone, "half": half.detach()}


@pytest.fixture(scope="module")
def parts():
    return in_group(2, in_parts)


@pytest.mark.parametrize("name", LAYERS)
def test_two_processes_normalise_the_joined_batch(parts, name, assert_same):
    layer, x, weights = case(name)
    whole, (first, second) = passed(layer, x, weights), (part["shared"][name] for part in parts)
    torch.testing.assert_close(torch.cat([first["y"], second["y"]]), whole["y"])
    for order in (0, 1):
        torch.testing.assert_close(torch.cat([first["x"][order], second["x"][order]]), whole["x"][order])
        for a, b, both in zip(*(run["parameters"][order] for run in (first, second, whole)), strict=True):
            torch.testing.assert_close(a + b, both)
    assert_same(first["buffers"], whole["buffers"], tolerance=1e-12)
    assert_same(first["buffers"], second["buffers"])


@pytest.mark.parametrize("name", LAYERS)
def test_one_process_alone_does_as_torch(parts, name, assert_same):
    assert_same(parts[0]["local"][name], passed(*case(name)), tolerance=1e-12)


def test_samples_of_one_process_wait_for_no_other(parts):
    _, x, _ = case("maps")
    torch.testing.assert_close(parts[0]["alone"], x.mean((0, 2, 3)))


def test_statistics_are_float32_and_outputs_the_inputs_type(parts):
    _, x, _ = case("maps")
    expected = nn.BatchNorm2d(3)(x.bfloat16().float())
    half = torch.cat([part["half"] for part in parts])
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected.detach(), rtol=1e-2, atol=1e-2)


def test_layers_change_their_class_and_get_it_back():
    torch.manual_seed(0)
    module = GAN((1, 8, 8), latent_dim=4)
    names, state, plugin = batch_norm_layers(module.generator), copy.deepcopy(module.state_dict()), BatchNormSync()
    types = [type(module.generator.get_submodule(name)) for name in names]
    parameters = list(module.parameters())
    plugin.apply(plugin.apply(module))
    assert names == batch_norm_layers(module.generator)
    assert all(isinstance(module.generator.get_submodule(name), SynchronisedBatchNorm) for name in names)
    assert names
    plugin.revert(module)
    assert [type(module.generator.get_submodule(name)) for name in names] == types
    assert module.state_dict().keys() == state.keys()
    assert all(a is b for a, b in zip(module.parameters(), parameters, strict=True))
