"""The fast paths on a GPU give what the plain ones do. They need a CUDA device: ``pytest -m gpu tests/test_gpu.py``."""

from functools import partial

import lightning.pytorch as L
import pytest
import torch

from datamodules import DigitsDataModule
from lit_gen import WGANGP
from lit_gen.callbacks import Speed
from lit_gen.losses import GradientPenalty
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator, ResNetDiscriminator, ResNetGenerator

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize(("autocast", "tolerance"), [(False, 1e-4), (True, 4e-2)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_penaltys_gradient_is_pytorchs(memory_format, autocast, tolerance, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    critic = ResNetDiscriminator((3, 32, 32), width=32).cuda().to(memory_format=memory_format)
    real, fake = (torch.rand(8, 3, 32, 32, device="cuda") * 2 - 1 for _ in range(2))
    epsilon, gradients = torch.rand(8, device="cuda"), []
    for direct in (True, False):
        critic.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            value = GradientPenalty(direct=direct)(critic, real, fake, epsilon)
        value.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in critic.parameters() if p.ndim > 1]).double())
    assert (gradients[0] - gradients[1]).norm() < tolerance * gradients[1].norm()


@pytest.mark.parametrize(("network", "size"), [(ResNetGenerator, (8,)), (ResNetDiscriminator, (3, 32, 32))])
def test_folded_networks_are_the_plain_ones(network, size):
    arguments = ((3, 32, 32), 8) if network is ResNetGenerator else ((3, 32, 32),)
    folded, plain = (network(*arguments, width=8, folded=f).cuda().double().eval() for f in (True, False))
    plain.load_state_dict(folded.state_dict())
    x = torch.randn(4, *size, device="cuda", dtype=torch.float64)
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("compile", [True, False])
def test_training_runs_in_bfloat16_and_keeps_the_names(channels_last, compile):
    networks = (partial(DCGANGenerator, width=8), partial(DCGANDiscriminator, width=8, norm="none"))
    module = WGANGP((1, 8, 8), 8, generator=networks[0], discriminator=networks[1], n_critic=2)
    names = list(module.state_dict())
    trainer = L.Trainer(
        accelerator="gpu", devices=1, precision="bf16-mixed", max_steps=6, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, callbacks=[Speed(channels_last, compile)],
    )  # fmt: skip
    trainer.fit(module, DigitsDataModule(batch_size=64))
    assert list(module.state_dict()) == names
    assert all(value.isfinite().all() for value in module.state_dict().values())
