"""Names of the framework that are nobody's promise and that the library relies on: each has a test that misses it."""

import inspect

import lightning.pytorch as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy
from test_update import build, fit
from torch import nn
from torch.autograd import forward_ad

from lit_gen import GAN
from lit_gen.optimizers import GANAdam
from lit_gen.precision import float32_or_better


def test_the_name_of_the_running_hook_is_set_on_the_module_itself():
    names = []

    class Watched(GAN):
        def __setattr__(self, name, value):
            names.extend([value] if name == "_current_fx_name" else [])
            super().__setattr__(name, value)

    fit(build(Watched), steps=1)
    assert "training_step" in names


def test_the_hooks_around_an_optimizers_step_are_what_counts_it():
    optimizer = LightningOptimizer(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    assert callable(optimizer._on_before_step)
    assert callable(optimizer._on_after_step)
    source = inspect.getsource(LightningOptimizer.step)
    assert "self._on_before_step()" in source
    assert "self._on_after_step()" in source

    class Uncounted(GAN):
        """Whose second player's hooks are left as they are."""

        def training_step(self, batch, batch_idx):
            for optimizer in self.optimizers():
                optimizer.step()

    module = build(Uncounted)
    fit(module, steps=4)
    assert module.trainer.global_step == 4  # after two batches: both optimizers' steps count
    assert module.trainer.fit_loop.total_batch_idx + 1 == 2


def test_an_optimizer_asks_whether_an_accelerator_records_a_graph():
    assert callable(torch.optim.Adam._accelerator_graph_capture_health_check)
    asked = []
    optimizer = GANAdam([nn.Parameter(torch.ones(1))])
    optimizer._accelerator_graph_capture_health_check = lambda: asked.append(True)
    optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
    optimizer.step()
    assert asked


def test_autocast_is_known_to_be_off_and_on():
    assert not torch._C._is_any_autocast_enabled()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch._C._is_any_autocast_enabled()
        assert float32_or_better(lambda x: x @ x)(torch.ones(2, 2)).dtype == torch.float32


def test_a_strategy_keeps_how_batch_norms_are_synchronised():
    trainer = L.Trainer(accelerator="cpu", devices=2, sync_batchnorm=True, logger=False, barebones=True)
    assert isinstance(trainer.strategy, DDPStrategy)
    assert isinstance(trainer.strategy._layer_sync, TorchSyncBatchNorm)
    assert callable(trainer.strategy.block_backward_sync)


def test_tensors_count_their_changes_and_layers_name_their_unsaved_buffers():
    x = torch.ones(2)
    version = x._version
    x.add_(1)
    assert x._version == version + 1
    layer = nn.Module()
    layer.register_buffer("a", x, persistent=False)
    assert layer._non_persistent_buffers_set == {"a"}


def test_many_tensors_are_averaged_and_measured_at_once():
    a, b = [torch.zeros(2), torch.ones(3)], [torch.ones(2), torch.zeros(3)]
    torch._foreach_lerp_(a, b, 0.25)
    assert [x.tolist() for x in a] == [[0.25] * 2, [0.75] * 3]
    assert [round(x.item(), 6) for x in torch._foreach_norm(b)] == [round(2**0.5, 6), 0.0]


def test_what_the_kernels_ask_pytorch_of_the_running_context():
    assert not torch._C._are_functorch_transforms_active()
    seen = []
    torch.func.vmap(lambda x: (seen.append(torch._C._are_functorch_transforms_active()), x)[1])(torch.ones(2))
    assert seen == [True]
    assert not torch._C._functorch.is_legacy_batchedtensor(torch.ones(2))
    assert forward_ad._current_level == -1
    with forward_ad.dual_level():
        assert forward_ad._current_level == 0


def test_a_kernel_is_taken_over_and_given_back():
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    assert keys.has(torch._C.DispatchKey.CPU)
    library, calls = torch.library.Library("aten", "IMPL"), []
    library.impl("aten::frac", lambda x: (calls.append(x), x.clone())[1], "CPU")
    torch.frac(torch.ones(1))
    library._destroy()
    torch.frac(torch.ones(1))
    assert len(calls) == 1
    with torch._C.DisableTorchFunction():
        assert torch.ones(1).sum() == 1
