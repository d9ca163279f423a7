"""``init_from``: fine-tuning starts from a trained model, and says from what of it."""

import csv
import json
import logging
import re
import warnings
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
import yaml

from datamodules import DigitsDataModule
from lit_gen import GAN, IWAE, VAE, WGANGP, CycleGAN, HierarchicalVAE, from_pretrained, list_pretrained, save_pretrained
from lit_gen.cli.app import main
from lit_gen.distributions import GaussianMixture
from lit_gen.networks import (
    Ladder,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    PatchGAN,
    ResNetDiscriminator,
    ResNetGenerator,
    ResNetTranslator,
)
from lit_gen.networks.layers import ConditionalBatchNorm

SHAPE = (1, 8, 8)
DIGITS_VAE = {"encoder": partial(MLPEncoder, width=256), "decoder": partial(MLPDecoder, width=256)}
CODERS = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8)}
PLAYERS = {"generator": partial(MLPGenerator, width=8), "discriminator": partial(MLPDiscriminator, width=8)}
TRANSLATORS = {"generator": partial(ResNetTranslator, width=4, blocks=1), "discriminator": partial(PatchGAN, width=4)}
BUILD = {
    "GAN": partial(GAN, SHAPE, 4, **PLAYERS),
    "WGANGP": partial(WGANGP, SHAPE, 4, **PLAYERS),
    "VAE": partial(VAE, SHAPE, 4, **CODERS),
    "IWAE": partial(IWAE, SHAPE, 4, **CODERS),
    "HierarchicalVAE": partial(HierarchicalVAE, SHAPE, partial(Ladder, latent_dims=(3, 2), widths=(16, 8))),
    "CycleGAN": partial(CycleGAN, (3, 16, 16), **TRANSLATORS),
}


@pytest.fixture
def report(caplog):
    """What was said about ``init_from``."""
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    return lambda: [line for line in caplog.messages if line.startswith("init_from")]


def networks(module):
    return {key: value for key, value in module.state_dict().items() if not key.startswith("averages.")}


@pytest.mark.parametrize("name", BUILD)
def test_every_model_starts_where_another_ended(name, tmp_path, report):
    source = BUILD[name]()
    save_pretrained(source, tmp_path / "source")
    module = BUILD[name](ema_half_life=100.0, init_from=str(tmp_path / "source"))
    expected = networks(from_pretrained(tmp_path / "source"))
    assert all(torch.equal(value, expected[key]) for key, value in networks(module).items())
    for part in module.averages:
        assert all(
            torch.equal(value, expected[f"{part}.{k}"]) for k, value in module.network(part).state_dict().items()
        )
    (line,) = report()
    counts = re.findall(r"(\w+) (\d+) of (\d+) tensors", line)
    assert sum(int(n) for _, n, _ in counts) == sum(int(n) for *_, n in counts) == len(expected)
    assert "left" not in line


def test_fine_tuning_by_the_command_line(tmp_path, monkeypatch, report, capsys):
    monkeypatch.chdir(tmp_path)
    quick = ["--trainer.max_steps=2", "--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu"]
    quick += [
        "--trainer.enable_progress_bar=false",
        "--evaluate.extractor=null",
        "--checkpoint.monitor=null",
        "--samples.num_samples=4",
    ]
    main(["fit", "--config", "vae_digits", "--model.init_from", "vae_digits", *quick, "--experiment", "tuned"])
    assert report() == ["init_from vae_digits: encoder 6 of 6 tensors, decoder 6 of 6 tensors"]
    (run,) = Path("runs/tuned").iterdir()
    with open(run / "metrics.csv") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    expected = list_pretrained()["vae_digits"]["scores"]["val/nelbo_nats"]
    assert losses[0] == pytest.approx(expected, abs=4)  # an untrained one has 64 ln 2 = 44 nats
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["init_from"] == "vae_digits"

    # The checkpoint stands alone, and a resume takes its weights.
    def no_source(*_):
        raise AssertionError("opened the source again")

    checkpoint = str(run / "checkpoints" / "last.ckpt")
    monkeypatch.setattr("lit_gen.pretrained.warm_start.locate", no_source)
    weights = networks(from_pretrained(checkpoint))
    main(["fit", "--config", "vae_digits", "--ckpt_path", checkpoint, "--model.init_from=gan_digits", *quick])
    assert 'model.init_from="gan_digits" was given, null is used, from the checkpoint' in capsys.readouterr().err
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["hyper_parameters"]["init_from"] is None
    assert all(torch.equal(value, stored["state_dict"][key]) for key, value in weights.items())


def test_fine_tuning_in_python(tmp_path):
    module = VAE(SHAPE, 16, **DIGITS_VAE, init_from="vae_digits")
    images, _ = DigitsDataModule().dataset("val").__getitems__(list(range(300)))
    x = DigitsDataModule.to_float(images)
    assert torch.equal(module.encode(x), from_pretrained("vae_digits").encode(x))
    trainer = L.Trainer(
        max_steps=1, log_every_n_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, datamodule=DigitsDataModule())
    assert trainer.callback_metrics["train/loss"] < 29  # an untrained one has 44
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")
    assert torch.equal(from_pretrained(tmp_path / "tuned.ckpt").encode(x), module.encode(x))


def test_what_does_not_fit_is_named(report):
    module = VAE(SHAPE, 8, **DIGITS_VAE, init_from="vae_digits")
    assert torch.equal(module.encoder.layers[0].weight, from_pretrained("vae_digits").encoder.layers[0].weight)
    assert report() == [
        "init_from vae_digits: encoder 4 of 6 tensors, decoder 5 of 6 tensors; left as initialised: "
        "encoder.layers.6.weight (shape (16, 256) here, (32, 256) there), "
        "encoder.layers.6.bias (shape (16,) here, (32,) there), "
        "decoder.layers.0.weight (shape (256, 8) here, (256, 16) there)"
    ]


def test_a_network_that_the_source_lacks_stays(tmp_path, report):
    save_pretrained(BUILD["VAE"](), tmp_path / "source")
    BUILD["VAE"](prior=partial(GaussianMixture, components=3), init_from=str(tmp_path / "source"))
    assert report()[0].endswith("left as initialised: prior (absent there)")


RESIDUAL = {"generator": partial(ResNetGenerator, width=4), "discriminator": partial(ResNetDiscriminator, width=4)}


def residual(num_classes, **kwargs):
    condition = {"conditional": True, "num_classes": num_classes} if num_classes else {}
    return GAN((3, 8, 8), 4, **RESIDUAL, **condition, **kwargs)


@pytest.fixture
def trained_in_part(tmp_path):
    """Save a GAN of random gains, biases and statistics."""

    def save(num_classes):
        source = residual(num_classes)
        for weight in source.parameters():
            torch.nn.init.normal_(weight, 0.0, 0.3)
        for statistic in source.buffers():
            if statistic.is_floating_point():
                torch.nn.init.uniform_(statistic, 0.5, 1.0)
        save_pretrained(source, tmp_path / "source")
        return from_pretrained(tmp_path / "source").eval()  # whose generator is the average

    return save


@pytest.mark.parametrize("num_classes", [0, 2])
def test_other_classes_start_from_the_mean_class(num_classes, trained_in_part, tmp_path, report):
    source = trained_in_part(3)
    module = residual(num_classes, init_from=str(tmp_path / "source")).eval()
    assert report()[0].endswith("tensors, classes at the mean of its own")  # and nothing is left as initialised
    images, noise, all_classes = torch.rand(5, 3, 8, 8), torch.randn(5, 4), torch.arange(3)
    scores = [source.discriminator(images, y.expand(5)) for y in all_classes]
    for layer in source.generator.modules():
        if isinstance(layer, ConditionalBatchNorm):
            for weight in (layer.gain.weight, layer.bias.weight):
                weight.data = weight.mean(0, keepdim=True).expand(3, -1)
    expected = source.generator(noise, torch.zeros(5, dtype=torch.int64))
    for label in range(max(num_classes, 1)):
        y = [torch.full((5,), label)] if num_classes else []
        torch.testing.assert_close(module.discriminator(images, *y), torch.stack(scores).mean(0))
        torch.testing.assert_close(module.generator(noise, *y), expected)
    assert 0.1 < expected.abs().mean() < 0.9  # neither grey nor saturated


def test_classes_start_from_a_model_without(trained_in_part, tmp_path, report):
    source = trained_in_part(0)
    module = residual(2, init_from=str(tmp_path / "source")).eval()
    left = "; left as initialised: discriminator.head.weight (absent there)"
    assert report()[0].endswith(f"each class as its images without{left}")
    noise = torch.randn(5, 4)
    for label in range(2):
        torch.testing.assert_close(module.generator(noise, torch.full((5,), label)), source.generator(noise))


def test_as_many_classes_keep_their_own(trained_in_part, tmp_path, report):
    source = trained_in_part(3)
    module = residual(3, init_from=str(tmp_path / "source"))
    assert report()[0].endswith("tensors")
    own = networks(module)
    assert all(torch.equal(value, own[key]) for key, value in networks(source).items())


@pytest.mark.parametrize(("here", "there"), [("auxiliary", "projection"), ("projection", "auxiliary")])
def test_a_classifier_takes_no_projection_of_its_shape(here, there, tmp_path, report):
    def conditioned(condition, **kwargs):
        networks = {**RESIDUAL, "discriminator": partial(ResNetDiscriminator, width=4, condition=condition)}
        return GAN((3, 8, 8), 4, **networks, conditional=True, num_classes=3, **kwargs)

    source = conditioned(there)
    save_pretrained(source, tmp_path / "source")
    module = conditioned(here, init_from=str(tmp_path / "source"))
    assert "discriminator.head.weight (of another kind there)" in report()[0]
    assert not torch.equal(module.discriminator.head.weight, source.discriminator.head.weight)


def test_the_same_weights_in_other_networks_are_told(tmp_path):
    summed = partial(ResNetDiscriminator, width=4, pooling="sum")
    source = GAN((3, 8, 8), 4, **{**RESIDUAL, "discriminator": summed})
    save_pretrained(source, tmp_path / "summed")
    meant = {**RESIDUAL, "discriminator": partial(ResNetDiscriminator, width=4, pooling="mean")}
    told = r"the same weights make another function here: discriminator.pooling is 'mean', 'sum' there$"
    with pytest.warns(UserWarning, match=told):
        GAN((3, 8, 8), 4, **meant, init_from=str(tmp_path / "summed"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GAN((3, 8, 8), 4, **{**RESIDUAL, "discriminator": summed}, init_from=str(tmp_path / "summed"))


def test_averages_of_a_checkpoint_are_what_is_taken(tmp_path):
    source = BUILD["GAN"](ema_half_life=10_000.0)
    trainer = L.Trainer(
        max_steps=3, logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(source, datamodule=DigitsDataModule())
    trainer.save_checkpoint(tmp_path / "source.ckpt")
    module = BUILD["GAN"](init_from=str(tmp_path / "source.ckpt"))
    weight = module.generator.state_dict()["layers.0.weight"]
    assert torch.equal(weight, source.network("generator").state_dict()["layers.0.weight"])
    assert not torch.equal(weight, source.generator.state_dict()["layers.0.weight"])


@pytest.mark.parametrize(
    ("build", "source", "message"),
    [
        (partial(VAE, SHAPE, 16, **CODERS), "vae_digits", r"VAE's, nothing fits of encoder \(e.g. encoder.layers.0"),
        (partial(VAE, SHAPE, 16, **CODERS), "gan_digits", "it has discriminator, generator"),
        (partial(GAN, SHAPE), "wgan_gp_digits", r"nothing fits of generator \(.*absent there\) and of discriminator"),
        (partial(VAE, SHAPE), "cut.ckpt", "not a whole checkpoint"),
        (partial(VAE, SHAPE), "nowhere", "neither a file nor a folder nor a shipped model"),
    ],
)
def test_another_architecture_is_an_error(build, source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cut.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build(init_from=source)


def test_the_class_that_a_source_names_is_not_imported_and_it_names_no_further_source(tmp_path):
    save_pretrained(BUILD["VAE"](), tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    config["init_args"]["init_from"] = str(tmp_path / "nowhere")
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    from_pretrained(tmp_path / "source")
    config["class_path"] = "no_such_package.Model"
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    BUILD["VAE"](init_from=str(tmp_path / "source"))


def test_a_wrong_kind_is_an_error():
    assert from_pretrained("vae_digits", kind=VAE).sample(2).shape == (2, *SHAPE)
    with pytest.raises(ValueError, match="kind=GAN: vae_digits holds a VAE"):
        from_pretrained("vae_digits", kind=GAN)
