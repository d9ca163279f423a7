"""A decoder whose last bias starts at the data's mean (Burda et al. 2016)."""

from functools import partial

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from datamodules import ArrayDataModule, DigitsDataModule
from lit_gen import VAE
from lit_gen.distributions import Bernoulli, Gaussian
from lit_gen.networks import DCGANDecoder, MLPDecoder, MLPEncoder
from lit_gen.optimizers import VAEAdam

STILL = {"optimizer": partial(VAEAdam, lr=1e-30)}  # weights that no step moves
TRAINER = {"max_steps": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


def build(**kwargs):
    torch.manual_seed(0)
    options = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8), "latent_dim": 2}
    return VAE((1, 8, 8), **{**options, "likelihood": partial(Bernoulli, binarization="dynamic"), **STILL, **kwargs})


def trained(module, data):
    trainer = L.Trainer(accelerator="cpu", limit_val_batches=0, enable_model_summary=False, **TRAINER)
    trainer.fit(module, data)
    return module


def test_each_pixel_starts_at_the_logit_of_its_mean_grey_value():
    data = DigitsDataModule()
    module = trained(build(start_at_mean=True, likelihood=Bernoulli, ema_half_life=100.0), data)
    images, _ = data.dataset("train").__getitems__(list(range(len(data.dataset("train")))))
    mean = (images.double() / 255).mean(0).flatten()
    expected = torch.log(mean.clamp(1e-3, 1 - 1e-3) / (1 - mean.clamp(1e-3, 1 - 1e-3)))
    assert expected.min() < -6  # pixels that are black in every digit
    for decoder in (module.decoder, module.network("decoder")):
        torch.testing.assert_close(decoder.output_bias.double(), expected, rtol=1e-5, atol=1e-5)


def test_binarised_pixels_have_the_mean_of_what_is_drawn_of_them(tmp_path):
    """Of grey value 1/4 a quarter is drawn white, and none is above the threshold of 1/2."""
    np.save(tmp_path / "grey.npy", np.full((400, 8, 8), 64, np.uint8))
    for binarization, mean in (("dynamic", 64 / 255), ("threshold", 1e-3)):
        data = ArrayDataModule(tmp_path / "grey.npy", batch_size=4)
        likelihood = partial(Bernoulli, binarization=binarization)
        bias = trained(build(start_at_mean=True, likelihood=likelihood), data).decoder.output_bias.sigmoid()
        assert bias.mean().item() == pytest.approx(mean, abs=0.01)


def test_weights_that_were_trained_stay(tmp_path):
    data = DigitsDataModule()
    module = trained(build(start_at_mean=True), data)
    module.decoder.output_bias.data.fill_(3.0)
    trained(module, data)
    torch.testing.assert_close(module.decoder.output_bias, torch.full((64,), 3.0))
    module.trainer.save_checkpoint(tmp_path / "trained.ckpt")
    started = trained(build(start_at_mean=True, init_from=str(tmp_path / "trained.ckpt")), data)
    torch.testing.assert_close(started.decoder.output_bias, torch.full((64,), 3.0))


def test_by_default_nothing_changes():
    for value in (build().decoder.output_bias, trained(build(), DigitsDataModule()).decoder.output_bias):
        torch.testing.assert_close(value, build().decoder.output_bias)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": Gaussian}, "likelihood=Gaussian: the mean of the data doesn't tell its parameters"),
        ({"decoder": partial(DCGANDecoder, width=4)}, "start_at_mean=True: DCGANDecoder has no bias for each pixel"),
    ],
)
def test_what_has_no_such_bias_is_refused_before_work(options, message):
    with pytest.raises(ValueError, match=message):
        build(start_at_mean=True, **options)


def test_a_plain_loader_is_refused():
    loader = DataLoader([(torch.zeros(1, 8, 8), 0)] * 4, batch_size=2)
    with pytest.raises(ValueError, match=r"start_at_mean=True: .* data module"):
        trained(build(start_at_mean=True), loader)
