"""Every shipped config runs all four commands; data that must be downloaded are replaced by a file of their shape."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from latent_folders import written

from datamodules import ArrayDataModule, DigitsDataModule
from lit_gen.cli.app import main
from lit_gen.models import VQVAE, AutoencoderKL
from lit_gen.networks import FSQ, ConvDecoder, ConvEncoder, GaussianBottleneck
from lit_gen.pretrained.shipped import configs_folder, is_addon

CONFIGS = sorted(path.stem for path in configs_folder().glob("*.yaml") if path.stem != "default" and not is_addon(path))
SHAPES = {"mnist": (28, 28), "cifar10": (32, 32, 3), "photos": (64, 64, 3)}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_config_runs(name, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", "--data.batch_size=4"]
    options += ["--trainer.precision=32-true", "--evaluate.batch_size=16"]
    shape = next((shape for key, shape in SHAPES.items() if name.endswith(key)), None)
    two_domains = name.startswith("cyclegan") and name != "cyclegan_digits"
    if two_domains:
        images = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), np.uint8)
        np.savez("images.npz", images=images, labels=np.arange(80) % 10)
        parts = ["a", "b"] if "horse2zebra" in name else ["a"]
        options += [f"--data.{part}=ArrayDataModule" for part in parts]
        options += [f"--data.{part}.path=images.npz" for part in parts]
        options += ["--data.num_workers=0", "--model.generator.width=8", "--model.discriminator.width=8"]
        options += ["--data.load_size=36"] if "horse2zebra" in name else []
    elif name == "pix2pix_cifar10":
        np.savez("images.npz", images=np.random.default_rng(0).integers(0, 256, (40, *shape), np.uint8))
        options += ["--data.images=ArrayDataModule", "--data.images.path=images.npz", "--model.generator.width=8"]
    elif shape:
        images = np.random.default_rng(0).integers(0, 256, (40, *shape), np.uint8)
        np.savez("images.npz", images=images, labels=np.arange(40) % 10)
        options[:0] = ["--data=ArrayDataModule", "--data.path=images.npz"]
    if name.startswith("latent_gan"):
        data = ArrayDataModule("images.npz") if shape else DigitsDataModule()
        levels = {"widths": (4, 4, 4) if shape else (4, 4), "blocks": 1, "groups": 2}
        networks = {"encoder": partial(ConvEncoder, **levels), "decoder": partial(ConvDecoder, **levels)}
        channels = partial(GaussianBottleneck, channels=4 if shape else 2)
        written("latents", data, AutoencoderKL(data.image_shape, channels, discriminator=None, **networks).eval())
        options = [option for option in options if "images.npz" not in option and "ArrayData" not in option]
    if name.startswith("code_prior"):
        networks = {"encoder": partial(ConvEncoder, widths=(4, 4), blocks=1, groups=2, attention=False),
                    "decoder": partial(ConvDecoder, widths=(4, 4), blocks=1, groups=2, attention=False)}  # fmt: skip
        levels = partial(FSQ, levels=(8, 5, 3))
        written("codes", DigitsDataModule(), VQVAE((1, 8, 8), levels, **networks).eval(), codes=True)
    if name == "autoencoder_kl_photos":  # whose convolutions are the work of a GPU
        narrow = ("widths=[8,8,8]", "groups=8", "blocks=1")
        options += [f"--model.{network}.{size}" for network in ("encoder", "decoder") for size in narrow]
        options += ["--model.discriminator.width=8", "--data.num_workers=0"]
    main([command, "--config", name, *options])
    assert not Path("runs").exists() or not any(path.is_file() for path in Path("runs").rglob("*"))


@pytest.mark.parametrize("name", CONFIGS)
def test_config_says_what_it_is(name):
    text = (configs_folder() / f"{name}.yaml").read_text()
    assert re.match(r"# \w.{30,}", text)
    assert {"model", "data", "trainer"} <= yaml.safe_load(text).keys()


def test_the_owed_configs_are_shipped():
    owed = {"gan_digits", "dcgan_mnist", "wgan_digits", "wgan_gp_digits", "wgan_gp_cifar10", "vae_digits", "vae_mnist"}
    assert owed | {"gan_grid25", "cgan_digits", "projection_cifar10"} <= set(CONFIGS)
