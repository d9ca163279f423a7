"""What models take for images: floating-point values in [-1, 1], and never bytes as if they were such."""

from functools import partial

import lightning.pytorch as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import lit_gen
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator, PatchGAN, ResNetTranslator

SHAPE = (1, 8, 8)
MODELS = {
    "GAN": lambda: lit_gen.GAN(
        SHAPE, 2, partial(MLPGenerator, width=4), partial(MLPDiscriminator, width=4, condition="concatenation")
    ),
    "VAE": lambda: lit_gen.VAE(SHAPE, 2, partial(MLPEncoder, width=4), partial(MLPDecoder, width=4)),
    "AutoencoderKL": lambda: lit_gen.AutoencoderKL(SHAPE, discriminator=None),
    "CycleGAN": lambda: lit_gen.CycleGAN(
        SHAPE, partial(ResNetTranslator, width=4, blocks=1), partial(PatchGAN, receptive_field=16, width=4)
    ),
}
USES = [("GAN", "score"), ("VAE", "encode"), ("AutoencoderKL", "encode"), ("AutoencoderKL", "reconstruct")]
USES += [("AutoencoderKL", "decode"), ("CycleGAN", "translate")]
BYTES = torch.randint(256, (4, *SHAPE), dtype=torch.uint8)


@pytest.mark.parametrize(("name", "method"), USES)
def test_bytes_are_refused_wherever_images_enter_a_model(name, method):
    model = MODELS[name]()
    x = torch.zeros(4, *model.latent_shape, dtype=torch.int64) if method == "decode" else BYTES
    with pytest.raises(ValueError, match=r"of torch\.(uint8|int64): a .* takes floating-point values") as caught:
        getattr(model, method)(x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["GAN", "VAE", "AutoencoderKL"])
def test_bytes_of_a_foreign_loader_are_refused(name):
    loader = DataLoader(TensorDataset(BYTES, torch.zeros(4, dtype=torch.int64)), batch_size=2)
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    with pytest.raises(ValueError, match=r"images of torch\.uint8: a .* takes floating-point values"):
        L.Trainer(max_steps=1, accelerator="cpu", **quiet).fit(MODELS[name](), loader)
