import copy
import importlib
import math

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from lit_gen import optimizers
from lit_gen.optimizers import GANAdam, TransformerAdamW, VAEAdam, WGANGPAdam, decay_groups


@pytest.mark.parametrize("optimizer", [GANAdam, VAEAdam, WGANGPAdam, TransformerAdamW])
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


@pytest.mark.parametrize(("ours", "theirs"), [(VAEAdam, torch.optim.Adam), (TransformerAdamW, torch.optim.AdamW)])
def test_fused_steps_are_pytorchs_bit_for_bit(ours, theirs, monkeypatch):
    """Groups of their own rates and precisions, a weight that has no gradient at times, a state that is read."""
    plain_steps = []
    plain = optimizers._PLAIN_STEP
    monkeypatch.setattr(optimizers, "_PLAIN_STEP", lambda own: (plain_steps.append(turn), plain(own)))
    torch.manual_seed(0)
    sides = [nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 1), nn.Linear(8, 1).double()])]
    sides.append(copy.deepcopy(sides[0]))
    settings = {"betas": (0.5, 0.9), "weight_decay": 0.1}

    def made(kind, layers):
        groups = [{"params": list(layer.parameters()), "lr": 0.01 * i} for i, layer in enumerate(layers, 1)]
        return kind(groups, fused=True, **settings)

    pair = [made(kind, layers) for kind, layers in zip((ours, theirs), sides, strict=True)]
    for turn in range(8):
        x = torch.randn(16, 6)
        for layers, optimizer in zip(sides, pair, strict=True):
            optimizer.zero_grad()
            hidden = layers[0](x)
            used = layers[1](hidden) if turn != 3 else hidden
            (used.square().mean() + layers[2](hidden.double()).mean()).backward()
            optimizer.step()
        if turn == 5:
            states = [optimizer.state_dict() for optimizer in pair]
            pair = [made(kind, layers) for kind, layers in zip((ours, theirs), sides, strict=True)]
            for optimizer, state in zip(pair, states, strict=True):
                optimizer.load_state_dict(state)
    for mine, its in zip(sides[0].parameters(), sides[1].parameters(), strict=True):
        assert torch.equal(mine, its)
        for name, value in pair[1].state[its].items():
            assert torch.equal(pair[0].state[mine][name], value), name
    assert plain_steps == [0, 3]  # the moments are made by PyTorch


def test_hooks_of_a_step_run_once_and_a_closure_has_gradients():
    torch.optim.Adam([nn.Parameter(torch.zeros(1))])  # whose class's step runs hooks from now on
    weight, steps = nn.Parameter(torch.ones(2)), []
    optimizer = GANAdam([weight])
    optimizer.register_step_post_hook(lambda *_: steps.append(float(optimizer.state[weight]["step"])))

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 2.0
    assert optimizer.step(closure) < 2.0
    assert steps == [1.0, 2.0]


def test_a_profiler_finds_the_step_by_its_name_and_hooks_before_it_change_its_arguments():
    weight = nn.Parameter(torch.ones(2))
    optimizer = GANAdam([weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    with torch.profiler.profile() as profile:
        optimizer.step()
    assert "Optimizer.step#GANAdam.step" in [event.key for event in profile.key_averages()]
    closures = []
    handle = optimizer.register_step_pre_hook(
        lambda own, args, kwargs: ((own,), {"closure": lambda: closures.append(1)})
    )
    optimizer.step()
    assert closures == [1]
    handle.remove()
    optimizer.step()
    assert closures == [1]


def test_hooks_of_all_optimizers_run():
    seen = []
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    optimizer = VAEAdam([weight])
    handles = [
        register_optimizer_step_pre_hook(lambda own, *_: seen.append(("before", own))),
        register_optimizer_step_post_hook(lambda own, args, _: seen.append(("after", args[0]))),
    ]
    optimizer.step()
    handles.pop(0).remove()
    optimizer.step()
    handles.pop().remove()
    optimizer.step()
    assert seen == [("before", optimizer), ("after", optimizer), ("after", optimizer)]


def test_a_gradient_scaler_leaves_overflowing_steps_out():
    weight = nn.Parameter(torch.ones(2))
    optimizer, scaler = GANAdam([weight], lr=0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor, moves in ((1.0, True), (math.inf, False), (1.0, True)):
        before = weight.detach().clone()
        optimizer.zero_grad()
        scaler.scale((factor * weight).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert (not torch.equal(weight, before)) == moves
    assert float(optimizer.state[weight]["exp_avg"][0]) == pytest.approx(0.75)  # of gradients 1 and 1, unscaled


def test_decoupled_decay_is_that_of_adamw():
    torch.manual_seed(0)
    networks = [nn.Linear(3, 2).double()]
    networks.append(copy.deepcopy(networks[0]))
    ours = TransformerAdamW(networks[0].parameters(), weight_decay=0.3)
    theirs = torch.optim.AdamW(networks[1].parameters(), lr=5e-4, betas=(0.9, 0.95), weight_decay=0.3)
    for _ in range(5):
        for network, step in zip(networks, (ours, theirs), strict=True):
            step.zero_grad()
            network(torch.ones(1, 3, dtype=torch.float64)).square().sum().backward()
            step.step()
    torch.testing.assert_close(networks[0].weight, networks[1].weight, rtol=1e-13, atol=1e-13)


def test_matrices_and_kernels_decay_alone():
    network = nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4), nn.Linear(4, 2), nn.Conv1d(1, 1, 3, bias=False))
    decayed, others = decay_groups(network.parameters(), network.modules())
    assert {id(p) for p in decayed["params"]} == {id(network[2].weight), id(network[3].weight)}
    assert others["weight_decay"] == 0.0
    assert {id(p) for p in others["params"]} == {id(p) for p in (network[0].weight, *network[1].parameters(),
                                                                 network[2].bias)}  # fmt: skip
    assert len(decay_groups(network[3].parameters(), [])) == 1


def test_groups_and_other_devices():
    weight = nn.Parameter(torch.zeros(2))
    assert GANAdam([{"params": [weight], "lr": 0.1}]).defaults["fused"]
    assert not GANAdam([nn.Parameter(torch.zeros(2, device="meta"))]).defaults["fused"]


@pytest.mark.parametrize("optimizer", [GANAdam, VAEAdam, WGANGPAdam])
def test_off_the_cpu_pytorch_chooses_and_takes_all_tensors_at_once(optimizer, monkeypatch):
    """A meta tensor stands in for a GPU's."""
    adam, base = map(importlib.import_module, ("torch.optim.adam", "torch.optim.optimizer"))
    taken = []
    for name in ("_single_tensor_adam", "_multi_tensor_adam", "_fused_adam"):
        monkeypatch.setattr(adam, name, lambda *_, name=name, **__: taken.append(name))
    devices = [*base._get_foreach_kernels_supported_devices(), "meta"]
    monkeypatch.setattr(base, "_get_foreach_kernels_supported_devices", lambda: devices)
    weight = nn.Parameter(torch.empty(3, device="meta"))
    weight.grad = torch.empty(3, device="meta")
    optimizer([weight]).step()
    torch.optim.Adam([weight]).step()
    assert taken == ["_multi_tensor_adam"] * 2


def stepped(optimizer, device, **options):
    weights = [nn.Parameter(torch.ones(2, device=device)) for _ in range(2)]
    made = optimizer([{"params": weights[:1], "lr": 0.5}, {"params": weights[1:]}], **options)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    made.step()
    return made


def implementations(optimizer):
    return [(group["fused"], group["foreach"]) for group in optimizer.param_groups]


def test_a_resumed_optimizer_keeps_the_implementation_of_its_own_device():
    on_cpu = stepped(GANAdam, "cpu")
    elsewhere = GANAdam([{"params": [nn.Parameter(torch.empty(2, device="meta"))]} for _ in range(2)])
    elsewhere.load_state_dict(on_cpu.state_dict())
    assert implementations(elsewhere) == [(None, None)] * 2
    assert [group["lr"] for group in elsewhere.param_groups] == [0.5, 2e-4]
    again = GANAdam([{"params": [nn.Parameter(torch.zeros(2))]} for _ in range(2)])
    again.load_state_dict(elsewhere.state_dict() | {"state": on_cpu.state_dict()["state"]})
    assert implementations(again) == [(True, None)] * 2
    assert all(state["step"] == 1 for state in again.state.values())
    chosen = stepped(GANAdam, "cpu", fused=False)
    chosen.load_state_dict(on_cpu.state_dict())
    assert implementations(chosen) == [(False, None)] * 2
    assert on_cpu.state_dict()["param_groups"][0]["fused"] is True  # what was loaded is left as it was


def test_groups_that_do_not_fit_are_refused_as_by_pytorch():
    with pytest.raises(ValueError, match="different number of parameter groups"):
        GANAdam([nn.Parameter(torch.zeros(2))]).load_state_dict(stepped(GANAdam, "cpu").state_dict())


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
