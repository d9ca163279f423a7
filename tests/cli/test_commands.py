"""``lit-gen list``, ``doctor``, ``encode`` and ``export``, as their user meets them."""

import gc
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import lit_gen
from datamodules import DigitsDataModule
from lit_gen import (
    GAN,
    VAE,
    VQGAN,
    WGANGP,
    Autoencoder,
    AutoencoderKL,
    CycleGAN,
    HierarchicalVAE,
    from_pretrained,
    save_pretrained,
)
from lit_gen.cli.app import main
from lit_gen.cli.commands.export_parts import PARTS, Images
from lit_gen.cli.words import an
from lit_gen.distributions import Likelihood
from lit_gen.models import AutoencodingModel, LatentVariableModel
from lit_gen.networks import (
    FSQ,
    ConvDecoder,
    ConvEncoder,
    DCGANDiscriminator,
    DCGANGenerator,
    Decoder,
    GaussianBottleneck,
    Ladder,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    PatchGAN,
    ResNetTranslator,
    TopDown,
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
        "auxiliary": GAN(
            SHAPE, 4, generator=partial(MLPGenerator, width=8, condition="embedding"), num_classes=10, conditional=True,
            discriminator=partial(MLPDiscriminator, width=8, condition="auxiliary"),
        ),
        "vae": VAE(SHAPE, 4, **CODERS),
        "ladder": HierarchicalVAE(SHAPE, partial(Ladder, latent_dims=(4, 3), widths=(8, 8))),
        "top_down": HierarchicalVAE(
            SHAPE, partial(TopDown, latent_dims=(2, 2), widths=(4, 4), convolutional=True), ema_half_life=10.0
        ),
        "cyclegan": CycleGAN(
            (3, 24, 24), partial(ResNetTranslator, width=4, blocks=1), partial(PatchGAN, width=4)
        ),
    }  # fmt: skip
    narrow = [partial(network, widths=(4, 8), blocks=1, groups=4) for network in (ConvEncoder, ConvDecoder)]
    made["kl"] = AutoencoderKL(SHAPE, partial(GaussianBottleneck, channels=2), *narrow, discriminator=None)
    made["fsq"] = VQGAN(SHAPE, partial(FSQ, levels=(5, 3)), encoder=narrow[0], decoder=narrow[1], discriminator=None)
    for name, module in made.items():
        save_pretrained(module, folder / name)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gc.collect()  # exported programs hold copies of the networks' classes, which other tests would find by name


@pytest.mark.parametrize("arguments", [[], ["--help"], ["list"], ["compare", "."], ["report", "."]])
def test_looking_around_imports_no_torch(arguments):
    code = f"""
import sys
sys.argv = ["lit-gen", *{arguments}]
from lit_gen.__main__ import main
main()
assert not {{"torch", "lightning", "numpy"}} & {{*sys.modules}}
"""
    Path("run.json").write_text('{"kind": "fit", "end": "failed"}')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    commands = ("fit", "sample", "encode", "evaluate", "export", "compare", "doctor")
    told = {"list": list_configs(), "compare": ("failed",), "report": ("1 run in report.html",)}
    assert all(name in done.stdout for name in told.get("".join(arguments[:1]), commands))


def test_the_list_says_of_each_model_what_it_is_for(capsys):
    main(["list"])
    tables = capsys.readouterr().out.split("\n\n")
    for name in lit_gen.list_pretrained():
        (title,) = [table.splitlines()[0] for table in tables[:-2] if f"\n  {name} " in table]
        model = lit_gen.from_pretrained(name, training=False)
        assert ("for lit-gen sample" in title) == isinstance(model, LatentVariableModel), name
        assert ("for lit-gen encode" in title) == isinstance(model, AutoencodingModel), name


@pytest.mark.parametrize("error", ["operator torchvision::nms does not exist", "another"])
def test_a_torchvision_of_another_torch_is_one_line(error, monkeypatch):
    from lit_gen import __main__

    class Misfit(ModuleType):
        def __getattr__(self, name):
            raise RuntimeError(error)

    monkeypatch.setitem(sys.modules, "lit_gen.cli.app", Misfit("lit_gen.cli.app"))
    monkeypatch.setattr(sys, "argv", ["lit-gen", "fit"])
    with pytest.raises((SystemExit, RuntimeError)) as stop:
        __main__.main()
    if error == "another":
        assert str(stop.value) == error
    else:
        assert re.fullmatch(
            r"lit-gen: error: torchvision [\d.+a-z]+ is built for another torch than [\d.+a-z]+; .* torchvision.*",
            str(stop.value),
        )


@pytest.mark.parametrize(
    ("kind", "told"),
    [("VAE", "a VAE"), ("IWAE", "an IWAE"), ("FSQ", "an FSQ"), ("LFQ", "an LFQ"), ("LeCam", "a LeCam")],
)
def test_articles(kind, told):
    assert an(type(kind, (), {})()) == told


def test_doctor_tells_without_a_network(capsys, monkeypatch):
    key = "5ec4e7" * 6 + "5ec4"
    monkeypatch.setenv("WANDB_API_KEY", key)
    main(["doctor"])
    out = capsys.readouterr().out
    assert re.search(rf"torch +{torch.__version__.split('+')[0]}", out)
    assert re.search(r"extractor mnist +whole, test accuracy 0.99", out)
    assert re.search("W&B +logged in", out)
    assert "5ec4e7" not in out


def test_doctor_refuses_options_as_every_command(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "--fix"])
    assert capsys.readouterr().err == "lit-gen: error: doctor: unknown option --fix; see --help\n"


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


@pytest.mark.parametrize("name", ["kl", "fsq"])
def test_encode_embeds_images_as_maps(models, name):
    images = DigitsDataModule().dataset("test").__getitems__(list(range(7)))[0]
    np.savez("digits.npz", images=images[:, 0].numpy())
    main(["encode", str(models / name), "digits.npz"])
    expected = from_pretrained(models / name).encode(DigitsDataModule.to_float(images))
    assert expected.shape == (7, 2, 4, 4)
    np.testing.assert_allclose(np.load("latents.npz")["latents"], expected.numpy(), atol=1e-6)


def inputs_of(module, part, n):
    generator = torch.Generator().manual_seed(n)
    if part == "decoder" and isinstance(module, Autoencoder):
        return (torch.randn(n, *module.latent_shape, generator=generator),)
    labels = (torch.arange(n) % 10,) if getattr(module, "conditional", False) else ()
    if part in ("generator", "decoder"):
        return (torch.randn(n, module.latent_dim, generator=generator), *labels)
    return (torch.rand(n, *module.image_shape, generator=generator) * 2 - 1, *labels)


@torch.no_grad()
def expected_of(module, part, inputs):
    """What the module itself makes of images in [-1, 1] or latents."""
    if part in ("generator", "decoder"):
        return (module.decode(*inputs),)
    if part == "encoder" and isinstance(module, HierarchicalVAE):
        x = module.observe(inputs[0])
        top = module.hierarchy(torch.zeros(1, len(x), module.noise_dim), x)[1][-1].posterior
        torch.testing.assert_close(module.encode(*inputs), top[0][0].flatten(1))
        return tuple(parameter[0].flatten(1) for parameter in top)
    if part == "encoder" and isinstance(module, Autoencoder):
        codes = (module.indices(*inputs),) if isinstance(module.bottleneck, FSQ) else ()
        return (module.encode(*inputs), *codes)
    if part == "encoder":
        torch.testing.assert_close(module.encode(*inputs), module.encoder(module.observe(inputs[0]))[0])
        return module.encoder(module.observe(inputs[0]))
    if part == "discriminator":
        return (module.score(*inputs),)
    if part.startswith("generator_"):
        return (module.translate(*inputs, to=part[-1]),)
    return (getattr(module, part)(*inputs),)


NAMES = {"encoder": ["mean", "log_scale"], "generator": ["images"], "decoder": ["images"]}
CASES = [
    ("dcgan", "generator"), ("conditional", "generator"), ("vae", "decoder"), ("vae", "encoder"),
    ("ladder", "encoder"), ("ladder", "decoder"), ("top_down", "encoder"), ("top_down", "decoder"),
    ("dcgan", "discriminator"), ("conditional", "discriminator"),
    ("auxiliary", "discriminator"), ("cyclegan", "generator_ab"), ("cyclegan", "generator_ba"),
    ("cyclegan", "discriminator_a"), ("cyclegan", "discriminator_b"),
    ("kl", "encoder"), ("kl", "decoder"), ("fsq", "encoder"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part"), CASES)
def test_torch_export_gives_the_same_images_for_any_batch(models, name, part):
    main(["export", str(models / name), "--format", "torch_export", "--part", part, "--out", "a.pt2"])
    facts = {"lit_gen.json": ""}
    program, module = torch.export.load("a.pt2", extra_files=facts).module(), from_pretrained(models / name)
    facts = json.loads(facts["lit_gen.json"])
    assert (facts["part"], facts["image_range"], facts["image_shape"]) == (part, [-1, 1], list(module.image_shape))
    for n in (1, 2, 7):
        inputs = inputs_of(module, part, n)
        found = program(*inputs)
        for a, b in zip(
            (found,) if isinstance(found, torch.Tensor) else found, expected_of(module, part, inputs), strict=True
        ):
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
    names, conditional = [entry.name for entry in session.get_inputs()], getattr(module, "conditional", False)
    first = "z" if part in ("generator", "decoder") else "images"
    first = "latents" if (name, part) == ("kl", "decoder") else first
    assert names == [first, *(["labels"] if conditional else [])]
    default = "translated" if part.startswith("generator_") else "scores"
    outputs = {"kl": ["latents"], "fsq": ["latents", "indices"]}.get(name) if part == "encoder" else None
    assert [entry.name for entry in session.get_outputs()] == (outputs or NAMES.get(part, [default]))
    for n in (1, 2, 7):
        inputs = inputs_of(module, part, n)
        found = session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))
        for a, b in zip(found, expected_of(module, part, inputs), strict=True):
            np.testing.assert_allclose(a, b.numpy(), atol=1e-4)


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_an_export_answers_for_no_class_that_is_not_there(models, part):
    """Labels 10, -1 and 99 of 10 classes give NaN, whatever the program's own gather does with them."""
    onnxruntime = pytest.importorskip("onnxruntime")
    command = ["export", str(models / "conditional"), "--part", part, "--format"]
    main([*command, "onnx", "--out", "a.onnx"])
    main([*command, "torch_export", "--out", "a.pt2"])
    labels = torch.tensor([3, 10, -1, 99, 9])
    x = inputs_of(from_pretrained(models / "conditional"), part, 5)[0]
    session = onnxruntime.InferenceSession("a.onnx")
    names = [entry.name for entry in session.get_inputs()]
    (of_onnx,) = session.run(None, {names[0]: x.numpy(), "labels": labels.numpy()})
    for found in (torch.from_numpy(of_onnx), torch.export.load("a.pt2").module()(x, labels)):
        assert found.isnan().reshape(5, -1).all(1).tolist() == [False, True, True, True, False]


def test_an_onnx_file_says_what_it_holds_in_the_opset_asked_for(models):
    onnx = pytest.importorskip("onnx")
    for opset in (18, 20):
        main(["export", str(models / "conditional"), "--format", "onnx", "--opset", str(opset), "--out", "a.onnx"])
        proto = onnx.load("a.onnx")
        assert [entry.version for entry in proto.opset_import if not entry.domain] == [opset]
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    assert (facts["model"], facts["part"], facts["source"]) == ("WGANGP", "generator", "conditional")
    assert (facts["image_range"], facts["image_shape"], facts["latent_dim"]) == ("[-1, 1]", "[1, 8, 8]", "4")
    assert (facts["latent_distribution"], facts["num_classes"], facts["other_labels"]) == ("N(0, I)", "10", "NaN")


@pytest.mark.parametrize("kind", ["onnx", "torch_export"])
def test_a_network_for_one_size_of_batch_is_refused(models, elsewhere, monkeypatch, capsys, kind):
    monkeypatch.setattr(Images, "run", lambda self, x, *labels: self.module.decode(x) + torch.zeros(len(x), 1, 1, 1))
    with pytest.raises(SystemExit):
        main(["export", str(models / "vae"), "--format", kind])
    message = capsys.readouterr().err.splitlines()[-1]
    assert message == "lit-gen: error: --part decoder: torch.export can't follow this VAE for batches of any size"
    assert not list(Path(elsewhere).iterdir())


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
        (["export", "{vae}", "--format", "safetensors", "--part", "decoder"], "--part decoder: .* the whole model"),
        (["export", "{vae}", "--format", "torch_export", "--opset", "18"], "--opset 18: of --format onnx alone"),
        (["export", "{vae}", "--format", "onnx", "--opset", "3"], "--opset 3: the exporter writes"),
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
