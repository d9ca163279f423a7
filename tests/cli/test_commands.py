"""``lit-gen list``, ``doctor``, ``encode`` and ``export``, as their user meets them."""

import gc
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import DigitsDataModule
from lit_gen import GAN, VAE, WGANGP, from_pretrained, save_pretrained
from lit_gen.cli.app import main
from lit_gen.cli.commands.export import PARTS
from lit_gen.distributions import Likelihood
from lit_gen.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    Decoder,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
)
from lit_gen.pretrained.shipped import list_configs

SHAPE = (1, 8, 8)
CODERS = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    made = {
        "dcgan": GAN(SHAPE, 4, partial(DCGANGenerator, width=4), partial(DCGANDiscriminator, width=4)),
        "conditional": WGANGP(
            SHAPE, 4, generator=partial(MLPGenerator, width=8, norm="batch", condition="batch_norm"),
            discriminator=partial(MLPDiscriminator, width=8), num_classes=10, conditional=True,
        ),
        "vae": VAE(SHAPE, 4, **CODERS),
    }  # fmt: skip
    for name, module in made.items():
        save_pretrained(module, folder / name)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gc.collect()  # exported programs hold copies of the networks' classes, which other tests would find by name


@pytest.mark.parametrize("arguments", [[], ["--help"], ["list"]])
def test_looking_around_imports_no_torch(arguments):
    code = f"""
import sys
sys.argv = ["lit-gen", *{arguments}]
from lit_gen.__main__ import main
main()
assert not {{"torch", "lightning", "numpy"}} & {{*sys.modules}}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = list_configs() if arguments == ["list"] else ("fit", "sample", "encode", "evaluate", "export", "doctor")
    assert all(name in done.stdout for name in told)


def test_doctor_tells_without_a_network(capsys, monkeypatch):
    key = "5ec4e7" * 6 + "5ec4"
    monkeypatch.setenv("WANDB_API_KEY", key)
    main(["doctor"])
    out = capsys.readouterr().out
    assert re.search(rf"torch +{torch.__version__.split('+')[0]}", out)
    assert re.search(r"extractor mnist +whole, test accuracy 0.99", out)
    assert re.search("W&B +logged in", out)
    assert "5ec4e7" not in out


def test_encode_embeds_every_image_in_order(models, capsys):
    images, labels = DigitsDataModule().dataset("test").__getitems__(list(range(30)))
    np.savez("digits.npz", images=images[:, 0].numpy(), labels=labels.numpy())
    main(["encode", str(models / "vae"), "digits.npz"])
    written = np.load("latents.npz")
    module = from_pretrained(models / "vae")
    expected = module.encode(DigitsDataModule.to_float(images))
    np.testing.assert_allclose(written["latents"], expected.numpy(), rtol=1e-6)
    assert written["labels"].tolist() == labels.tolist()
    assert "30 latents of 4 dimensions" in capsys.readouterr().out


def inputs_of(module, part, n):
    generator = torch.Generator().manual_seed(n)
    labels = (torch.arange(n) % 10,) if module.conditional else ()
    if part == "encoder":
        return (torch.rand(n, *SHAPE, generator=generator) * 2 - 1, *labels)
    return (torch.randn(n, 4, generator=generator), *labels)


def expected_of(module, part, inputs):
    with torch.no_grad():
        return module.encoder(*inputs) if part == "encoder" else (module.decode(*inputs),)


CASES = [("dcgan", "generator"), ("conditional", "generator"), ("vae", "decoder"), ("vae", "encoder")]


@pytest.mark.parametrize(("name", "part"), CASES)
def test_torch_export_gives_the_same_images_for_any_batch(models, name, part):
    main(["export", str(models / name), "--format", "torch_export", "--part", part, "--out", "a.pt2"])
    program, module = torch.export.load("a.pt2").module(), from_pretrained(models / name)
    for n in (1, 2, 7):
        inputs = inputs_of(module, part, n)
        found = program(*inputs)
        for a, b in zip(found if part == "encoder" else (found,), expected_of(module, part, inputs), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_an_export_leaves_no_second_class_of_a_name(models):
    main(["export", str(models / "vae"), "--format", "torch_export", "--part", "decoder", "--out", "a.pt2"])
    names = [kind.__name__ for base in (Decoder, Likelihood) for kind in base.__subclasses__()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("name", "part"), CASES)
def test_onnx_gives_the_same_images_for_any_batch(models, name, part):
    onnxruntime = pytest.importorskip("onnxruntime")
    main(["export", str(models / name), "--format", "onnx", "--part", part])
    session, module = onnxruntime.InferenceSession(f"{name}.onnx"), from_pretrained(models / name)
    names = [entry.name for entry in session.get_inputs()]
    assert names == ["images" if part == "encoder" else "z", *(["labels"] if module.conditional else [])]
    for n in (1, 2, 7):
        inputs = inputs_of(module, part, n)
        found = session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))
        for a, b in zip(found, expected_of(module, part, inputs), strict=True):
            np.testing.assert_allclose(a, b.numpy(), atol=1e-4)


def test_safetensors_is_a_pretrained_folder(models):
    main(["export", str(models / "vae"), "--format", "safetensors", "--out", "mine"])
    z = torch.randn(3, 4)
    assert torch.equal(from_pretrained("mine").decode(z), from_pretrained(models / "vae").decode(z))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{vae}", "--format", "onnx", "--part", "generator"], "--part generator: .* has encoder, decoder"),
        (["export", "{vae}", "--format", "onnx", "--out", "a.pb"], "--out a.pb: .*onnx"),
        (["export", "{vae}", "--format", "safetensors", "--out", "{vae}"], "exists already"),
        (["encode", "{dcgan}", "x.npz"], "a GAN has no encoder"),
        (["encode", "{vae}", "x.npz"], "x.npz"),
        (["encode", "{vae}", "x.npz", "--out", "a.txt"], "--out a.txt: an .npz file"),
    ],
)  # fmt: skip
def test_bad_requests_are_one_line(models, elsewhere, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main([argument.format(**{name: models / name for name in ("vae", "dcgan")}) for argument in arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not list(Path(elsewhere).iterdir())


def test_every_part_is_covered_above():
    assert {part for _, part in CASES} == set(PARTS)
