"""What is trained where data are named and no model is: by the images' number and size, and the machine."""

import logging
import warnings

import numpy as np
import pytest
import yaml
from PIL import Image

from lit_gen.cli.app import main
from lit_gen.cli.own_data import CPU_WIDTHS, FEW, choose
from lit_gen.networks import ResNetDiscriminator, ResNetGenerator
from lit_gen.networks.resnet import accepts
from lit_gen.pretrained.specification import build

FOLDER = "datamodules.ImageFolderDataModule"


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures, most of them 70 x 100."""
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for i in range(12):
        size = (70, 100, 3) if i else (300, 400, 3)
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos"


def described(photos, **arguments):
    return {"class_path": FOLDER, "init_args": {"root": str(photos), **arguments}}


def test_few_photos_get_an_augmented_residual_gan_of_their_size(photos):
    choice = choose(described(photos), sized=False, accelerated=False)
    assert choice.config["data"]["init_args"] == {"image_size": 64, "batch_size": 8, "flip": True}
    arguments = choice.config["model"]["init_args"]
    assert arguments["generator"] == {"class_path": "ResNetGenerator", "init_args": {"width": CPU_WIDTHS[64]}}
    assert arguments["augmentation"]["class_path"] == "ADA"
    told = " ".join(choice.lines)
    assert "pictures of 64 x 64, cropped at the centre; at 32 a shipped model is the start" in told
    for option in ("--data.image_size", "--model.generator", "--model.augmentation", "--data.flip", "--trainer"):
        assert option in told


def test_a_shipped_extractor_scores_images_of_its_shape(photos):
    assert choose(described(photos, image_size=32), True, False).config["evaluate"] == {"extractor": "cifar10"}
    assert "evaluate" not in choose(described(photos, image_size=40), True, False).config


@pytest.mark.parametrize(("side", "accelerated", "expected"), [(20, True, 32), (300, True, 256), (300, False, 64)])
def test_the_size_is_the_largest_that_pictures_and_machine_allow(tmp_path, side, accelerated, expected):
    for i in range(12):
        Image.new("RGB", (side, side + 9), (i, 0, 0)).save(tmp_path / f"{i}.png")
    choice = choose(described(tmp_path), sized=False, accelerated=accelerated)
    assert choice.config["data"]["init_args"]["image_size"] == expected


def test_a_size_that_is_given_is_kept(photos):
    choice = choose(described(photos, image_size=[24, 40]), sized=True, accelerated=False)
    assert "image_size" not in choice.config["data"]["init_args"]
    assert "generator" not in choice.config["model"]["init_args"]  # the default, which takes every size
    assert "--data.image_size" not in " ".join(choice.lines)


def test_photos_fewer_than_a_batch_get_a_smaller_one(photos, capsys):
    data = ["--data", "ImageFolderDataModule", "--data.root", str(photos), "--trainer.accelerator=cpu"]
    config, told = printed(capsys, data)
    assert config["data"]["init_args"]["batch_size"] == 8  # of twelve one is kept for each of the other splits
    assert "batches of 8, for there are 10 training images (--data.batch_size)" in told
    config, told = printed(capsys, [*data, "--data.batch_size", "4"])
    assert config["data"]["init_args"]["batch_size"] == 4
    assert "--data.batch_size" not in told


def test_many_images_are_not_augmented_and_grey_ones_not_mirrored(tmp_path):
    np.savez(tmp_path / "grey.npz", images=np.random.default_rng(0).integers(0, 256, (FEW, 8, 8), dtype=np.uint8))
    array = {"class_path": "datamodules.ArrayDataModule", "init_args": {"path": str(tmp_path / "grey.npz")}}
    shares = {"val_share": 0.0, "test_share": 0.0}
    for further, augmented in ((shares, False), ({}, True)):
        choice = choose({**array, "init_args": {**array["init_args"], **further}}, sized=False, accelerated=False)
        assert ("augmentation" in choice.config["model"]["init_args"]) is augmented
        assert choice.config["data"]["init_args"] == {}


def test_points_get_no_choice():
    assert choose({"class_path": "datamodules.MixtureDataModule", "init_args": {}}, False, False) is None


@pytest.mark.parametrize("side", CPU_WIDTHS)
def test_networks_for_a_cpu_are_small(side):
    assert accepts((3, side, side))
    width = CPU_WIDTHS[side]
    made = ResNetGenerator((3, side, side), 128, width=width), ResNetDiscriminator((3, side, side), width=width)
    for network in made:
        assert sum(p.numel() for p in network.parameters()) < 2_000_000


def printed(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *arguments, "--print_config"])
    assert stop.value.code == 0
    out, err = capsys.readouterr()
    return yaml.safe_load(out), err


def test_the_users_options_count_over_what_is_chosen(photos, capsys):
    data = ["--data", "ImageFolderDataModule", "--data.root", str(photos), "--trainer.accelerator=cpu"]
    config, told = printed(capsys, [*data, "--model.augmentation", "null", "--trainer.max_steps", "7"])
    assert config["data"]["init_args"]["image_size"] == 64
    assert config["model"]["init_args"]["loss"]["class_path"].endswith("RelativisticPairing")
    assert config["model"]["init_args"]["augmentation"] is None
    assert config["trainer"]["max_steps"] == 7
    assert "no --model, so for these images:" in told
    config, told = printed(capsys, [*data, "--model", "VAE"])
    assert config["model"]["class_path"].endswith("VAE")
    assert "no --model" not in told


def test_only_what_holds_is_told(photos, capsys):
    data = ["--data", "ImageFolderDataModule", "--data.root", str(photos), "--trainer.accelerator=cpu"]
    options = ("data.flip", "model.loss", "model.penalty", "model.generator", "model.augmentation", "trainer.max_steps")
    _, told = printed(capsys, data)
    assert all(f"(--{option})" in told for option in options)
    changed = ["--data.flip", "false", "--model.loss", "Hinge", "--model.penalty", "R1", "--trainer.max_steps", "7"]
    changed += ["--model.augmentation", "null", "--model.generator.width", "8"]
    _, told = printed(capsys, [*data, *changed])
    assert not any(f"(--{option})" in told for option in options)
    assert "(--data.image_size)" in told


def test_small_colour_photos_start_from_the_shipped_model_of_their_size(photos, capsys, caplog):
    data = ["--data", "ImageFolderDataModule", "--data.root", str(photos), "--data.image_size", "32"]
    data += ["--trainer.accelerator=cpu"]
    config, told = printed(capsys, data)
    arguments = config["model"]["init_args"]
    assert arguments["init_from"] == "rpgan_cifar10"
    assert "starting from the shipped rpgan_cifar10; null starts from scratch (--model.init_from)" in told
    networks = {name: arguments[name] for name in ("generator", "discriminator", "latent_dim", "init_from")}
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the same weights make the same function
        build("lit_gen.GAN", {"image_shape": [3, 32, 32], **networks})
    (line,) = (line for line in caplog.messages if line.startswith("init_from"))
    assert "left" not in line
    for others in (["--model.generator.width", "8"], ["--model.latent_dim", "16"], ["--model.init_from", "null"]):
        config, told = printed(capsys, [*data, *others])
        assert config["model"]["init_args"].get("init_from") is None
        assert "starting from" not in told
        assert ("from scratch: the shipped rpgan_cifar10 has other networks" in told) == ("null" not in others)
    assert choose(described(photos, image_size=32), True, True).config["model"]["init_args"].get("init_from") is None


def test_ten_classes_of_ones_own_are_not_the_shipped_ones(tmp_path, capsys):
    for i in range(20):
        (tmp_path / f"kind{i % 10}").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (i, 0, 0)).save(tmp_path / f"kind{i % 10}" / f"{i}.png")
    data = ["--data", "ImageFolderDataModule", "--data.root", str(tmp_path), "--trainer.accelerator=cpu"]
    config, told = printed(capsys, [*data, "--model.conditional", "true"])
    assert config["model"]["init_args"].get("init_from") is None
    assert "from scratch: the shipped rpgan_cifar10 has other classes (--model.init_from)" in told
    config, _ = printed(capsys, data)
    assert config["model"]["init_args"]["init_from"] == "rpgan_cifar10"


def test_check_takes_the_size_that_fit_would(tmp_path, capsys):
    for i in range(12):
        Image.new("RGB", (40, 50), (i, 0, 0)).save(tmp_path / f"{i}.png")
    main(["check", str(tmp_path)])
    out = capsys.readouterr().out
    assert "3 x 32 x 32" in out
    assert "smaller than" not in out
    main(["check", str(tmp_path), "--image_size", "64"])
    assert "12 images are smaller than 64 x 64" in capsys.readouterr().out
