"""Models leave the training stack and come back the same; files from elsewhere run nothing."""

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from lit_gen.modules.unrolled import UnrolledSGD
from safetensors.torch import load_file, save_file

from datamodules import DigitsDataModule
from lit_gen import GAN, VAE, WGANGP, CycleGAN, HierarchicalVAE, from_pretrained, list_pretrained, save_pretrained
from lit_gen.losses import ELBO, IWAE, R1, LinearWarmUp
from lit_gen.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    Ladder,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ResNetTranslator,
)
from lit_gen.pretrained.building import describe_checkpoint, describe_folder
from lit_gen.pretrained.fit import check_fit
from lit_gen.pretrained.shipped import PRETRAINED, list_configs
from lit_gen.pretrained.stored import read_tensors

SHAPE = (1, 8, 8)
MLP = {"generator": partial(MLPGenerator, width=8), "discriminator": partial(MLPDiscriminator, width=8)}
DCGAN = {"generator": partial(DCGANGenerator, width=4), "discriminator": partial(DCGANDiscriminator, width=4)}
CODERS = {"encoder": partial(MLPEncoder, width=8), "decoder": partial(MLPDecoder, width=8)}
BUILD = {
    "gan": lambda: GAN(SHAPE, 4, **DCGAN, penalty=None, ema_half_life=100, unroll=UnrolledSGD(steps=1)),
    "wgan_gp": lambda: WGANGP(SHAPE, 4, **MLP, ema_half_life=None),
    "conditional": lambda: GAN(SHAPE, 4, **MLP, penalty=R1(0.1), num_classes=10, conditional=True),
    "vae": lambda: VAE(SHAPE, 4, **CODERS, objective=ELBO(beta=0.5, warm_up=LinearWarmUp(2)), ema_half_life=100),
    "iwae": lambda: VAE(SHAPE, 4, **CODERS, objective=IWAE(samples=3)),
    "ladder": lambda: HierarchicalVAE(SHAPE, partial(Ladder, latent_dims=(3, 2), widths=(16, 8))),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every kind, trained for two steps, as module, checkpoint and folder."""
    folder, modules = tmp_path_factory.mktemp("pretrained"), {}
    for name, make in BUILD.items():
        torch.manual_seed(0)
        modules[name] = make()
        trainer = L.Trainer(
            max_steps=2, logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False,
            enable_model_summary=False, limit_val_batches=0, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(modules[name], datamodule=DigitsDataModule(batch_size=16))
        trainer.save_checkpoint(folder / f"{name}.ckpt")
        save_pretrained(modules[name], folder / name, {"data": "digits", "scores": {"fd": 3.5}, "licence": "mit"})
    return folder, modules


def drawn(module, n=5):
    return module.sample(n, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("suffix", ["", ".ckpt"])
def test_the_same_samples_come_back(trained, name, suffix):
    folder, modules = trained
    module = from_pretrained(folder / f"{name}{suffix}")
    assert type(module) is type(modules[name])
    assert not module.training
    assert torch.equal(drawn(module), drawn(modules[name]))


def test_averages_take_the_place_of_weights(trained):
    folder, modules = trained
    module = from_pretrained(folder / "gan")
    assert not module.averages
    averaged = modules["gan"].averages["generator"].network.state_dict()
    assert all(torch.equal(value, averaged[key]) for key, value in module.generator.state_dict().items())
    assert not torch.equal(averaged["trunk.0.weight"], modules["gan"].generator.state_dict()["trunk.0.weight"])


def test_matrices_are_kept_in_half_the_bytes_on_wish(tmp_path):
    module = GAN(SHAPE, 3, **MLP, ema_half_life=None)
    save_pretrained(module, tmp_path / "whole")
    save_pretrained(module, tmp_path / "half", dtype=torch.float16)
    stored, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("half", "whole"))
    assert stored.keys() == whole.keys()
    for key, x in whole.items():
        assert stored[key].dtype == (torch.float16 if x.ndim > 1 else x.dtype)
    loaded = from_pretrained(tmp_path / "half")
    for key, x in loaded.state_dict().items():
        assert x.dtype == whole[key].dtype
        torch.testing.assert_close(x, whole[key], rtol=2**-11, atol=1e-7)


def test_what_a_model_is_good_for(trained):
    folder, modules = trained
    images, labels = torch.rand(4, *SHAPE) * 2 - 1, torch.arange(4)
    scores = from_pretrained(folder / "conditional").score(images, labels)
    assert torch.equal(scores, modules["conditional"].discriminator(images, labels))
    vae = from_pretrained(folder / "vae")
    assert vae.decode(vae.encode(images)).shape == images.shape
    cycle = CycleGAN((3, 16, 16), partial(ResNetTranslator, width=4, blocks=1), ema_half_life=10)
    save_pretrained(cycle, folder / "cycle")
    pictures = torch.rand(2, 3, 16, 16)
    assert torch.equal(from_pretrained(folder / "cycle").translate(pictures), cycle.translate(pictures))


@pytest.mark.parametrize("suffix", ["", ".ckpt"])
def test_parts_alone(trained, suffix):
    folder, modules = trained
    encoder, images = from_pretrained(folder / f"vae{suffix}", part="encoder"), torch.rand(3, *SHAPE)
    assert type(encoder) is MLPEncoder
    assert not any(p.requires_grad for p in encoder.parameters())
    expected = modules["vae"].averages["encoder"].network(images)
    assert all(torch.equal(a, b) for a, b in zip(encoder(images), expected, strict=True))
    with pytest.raises(ValueError, match=r"part='generator'.*VAE.*encoder, decoder"):
        from_pretrained(folder / f"vae{suffix}", part="generator")


def test_what_is_in_the_folder(trained):
    folder, _ = trained
    assert sorted(path.name for path in (folder / "vae").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (folder / "vae" / "README.md").read_text()
    assert all(text in card for text in ("license: mit", "- **data**: digits", "fd: 3.5", 'from_pretrained("vae")'))
    with pytest.raises(ValueError, match="not empty"):
        save_pretrained(BUILD["vae"](), folder / "vae")
    assert not list(folder.glob(".*"))


def test_loading_needs_no_trainer_and_no_data(trained):
    folder, _ = trained
    code = f"""
import lit_gen, sys, lightning.pytorch as L
L.Trainer.__init__ = None
lit_gen.from_pretrained({str(folder / "gan")!r}).sample(2)
lit_gen.from_pretrained({str(folder / "gan.ckpt")!r}).sample(2)
assert "datamodules" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- files from elsewhere


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def copy(trained, tmp_path):
    """A folder of one's own to damage."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained[0] / "wgan_gp" / name).read_bytes())
    return tmp_path


def changed(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "path", ["os.system", "lit_gen.cli.app.os.system", "lit_gen_evil.GAN", "subprocess.Popen", "eval"]
)
@pytest.mark.parametrize("place", ["class_path", "generator", "loss", "factory"])
def test_classes_from_elsewhere_are_neither_imported_nor_called(copy, path, place, monkeypatch):
    def change(config):
        if place == "class_path":
            config["class_path"] = path
        elif place == "factory":
            config["init_args"]["generator"] = path if "." in path else {"class_path": path}
        else:
            config["init_args"][place] = {"class_path": path, "init_args": {"command": "touch run"}}

    changed(copy, change)
    monkeypatch.chdir(copy)
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("was called"))
    with pytest.raises(ValueError, match=r"config.json: class path .* outside the trusted packages"):
        from_pretrained(copy)
    assert not (copy / "run").exists()


@pytest.mark.parametrize(
    "path", ["lit_gen.losses.penalties.torch", "lit_gen.networks.base.nn", "lit_gen.networks.NoSuch"]
)
def test_names_that_are_no_classes_of_the_package(copy, path):
    changed(copy, lambda config: config["init_args"].update(generator={"class_path": path}))
    with pytest.raises(ValueError, match=r"class path .*: (not a class|there is no such)"):
        from_pretrained(copy)


def test_a_trusted_package_is_imported(trained, copy, monkeypatch):
    (copy / "my_networks.py").write_text("from lit_gen.networks import MLPGenerator\nclass Mine(MLPGenerator): ...\n")
    monkeypatch.syspath_prepend(str(copy))
    changed(copy, lambda config: config["init_args"]["generator"].update(class_path="my_networks.Mine"))
    with pytest.raises(ValueError, match="outside the trusted"):
        from_pretrained(copy)
    module = from_pretrained(copy, trusted=["my_networks"])
    assert type(module.generator).__name__ == "Mine"
    assert torch.equal(drawn(module), drawn(trained[1]["wgan_gp"]))


def test_a_pickle_in_the_place_of_tensors_is_not_opened(copy):
    (copy / "model.safetensors").write_bytes(pickle.dumps(Bomb(str(copy / "run"))))
    with pytest.raises(ValueError, match=r"model.safetensors: not a whole safetensors file"):
        from_pretrained(copy)
    torch.save({"state_dict": {}, "hyper_parameters": Bomb(str(copy / "run"))}, copy / "bad.ckpt")
    with pytest.raises(ValueError, match=r"bad.ckpt: not a whole checkpoint"):
        from_pretrained(copy / "bad.ckpt")
    assert not (copy / "run").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(trained, copy, share):
    for name, message in (("model.safetensors", "not a whole safetensors"), ("config.json", "not JSON")):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=rf"{name}: {message}"):
            from_pretrained(copy)
        (copy / name).write_bytes(content)
    content = (trained[0] / "gan.ckpt").read_bytes()
    (copy / "cut.ckpt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cut.ckpt: not a whole checkpoint"):
        from_pretrained(copy / "cut.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["init_args"]["generator"]["init_args"].update(width=9),
            "weights don't fit its model: size mismatch",
        ),
        (lambda c: c["init_args"].update(latent_dim=0), "latent_dim=0"),
        (lambda c: c["init_args"].update(nonsense=1), "nonsense"),
        (lambda c: c.update(class_path="lit_gen.networks.MLPGenerator"), "MLPGenerator"),
        (lambda c: c.update(format=99), "format=99; this version reads format=1"),
    ],
)
def test_descriptions_that_fit_nothing(copy, change, message):
    changed(copy, change)
    with pytest.raises(ValueError, match=message):
        from_pretrained(copy)


GENERATOR = "lit_gen.networks.MLPGenerator"
HUGE = {
    "a latent space of 10^8 dimensions": ("latent_dim", 10**8),
    "a layer of 10^12 weights": ("generator", {"class_path": GENERATOR, "init_args": {"width": 10**6}}),
    "a million layers": ("generator", {"class_path": GENERATOR, "init_args": {"depth": 10**6}}),
}


@pytest.mark.parametrize("what", HUGE)
def test_a_description_is_compared_with_the_tensors_before_memory_is_taken(copy, what):
    name, value = HUGE[what]
    changed(copy, lambda config: config["init_args"].update({name: value}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"weights don't fit its model: (size mismatch|.*more tensors)"):
        from_pretrained(copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("name", BUILD)
def test_every_model_can_be_compared_without_memory(trained, name):
    folder, _ = trained
    for described in (describe_checkpoint(folder / f"{name}.ckpt"),
                      (*describe_folder(folder / name), read_tensors(folder / name))):  # fmt: skip
        state = torch.get_rng_state()
        check_fit(*described)
        assert torch.equal(torch.get_rng_state(), state)


def test_weights_that_are_no_numbers_or_of_another_kind(copy):
    tensors = load_file(copy / "model.safetensors")
    key = next(key for key, value in tensors.items() if value.is_floating_point())
    for value, message in (
        (tensors[key].fill_(float("nan")), f"{key} holds values that are not numbers"),
        (tensors[key].nan_to_num().to(torch.int8), f"{key} is torch.int8 in the file, torch.float32 in the model"),
    ):
        save_file({**tensors, key: value}, copy / "model.safetensors")
        with pytest.raises(ValueError, match=rf"model.safetensors: its weights don't fit its model: {key}"):
            from_pretrained(copy)
        with pytest.raises(ValueError, match=message):
            from_pretrained(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1, "class_path": "lit_gen.VAE", "init_args": "x"}', "init_args='x': arguments by name"),
        ('{"format": 1, "class_path": "lit_gen.VAE", "init_args": [1]}', "arguments by name"),
        ('{"format": 1, "class_path": ["lit_gen.VAE"], "init_args": {}}', "class path"),
        ('{"format": 1, "class_path": "lit_gen.VAE", "init_args": {"image_shape": [1, 8, 8], "encoder": '
         '{"class_path": "lit_gen.networks.MLPEncoder", "init_args": "x"}}}', "init_args='x'"),
        ('{"a":' * 2000 + "1" + "}" * 2000, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_odd_descriptions_are_one_line(copy, text, message):
    (copy / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        from_pretrained(copy)
    assert "\n" not in str(raised.value)


def test_a_model_goes_where_it_is_asked_to():
    module = from_pretrained("vae_digits", device="cpu", dtype=torch.float64)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}
    assert module.sample(2).shape == (2, *SHAPE)
    assert from_pretrained("vae_digits", part="decoder", dtype=torch.bfloat16).layers[0].weight.dtype == torch.bfloat16
    for device, message in (
        ("cuda:77", "device=cuda:77: not on this machine; here are cpu"),
        ("gpu", "device=gpu: no such kind"),
    ):
        with pytest.raises(ValueError, match=message):
            from_pretrained("vae_digits", device=device)


@pytest.mark.parametrize("source", ["../../nothing", "no-such-model", "a/b/c", "nothing.ckpt"])
def test_sources_that_are_nowhere(source):
    with pytest.raises(FileNotFoundError, match="neither a file nor a folder"):
        from_pretrained(source)


def test_the_hub_s_cache_serves_without_a_network(trained, tmp_path):
    folder, modules = trained
    commit = "0" * 40
    repository = tmp_path / "models--owner--digits"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for path in (folder / "vae").iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    code = """
import lit_gen, torch
torch.save(lit_gen.from_pretrained("owner/digits").sample(5, generator=torch.Generator().manual_seed(1)), "out.pt")
try:
    lit_gen.from_pretrained("owner/absent")
except FileNotFoundError as error:
    assert "owner/absent: neither a file nor a folder, and not to be had from the Hugging Face Hub" in str(error), error
else:
    raise AssertionError
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
    # Another process, another number of threads: other rounding.
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), drawn(modules["vae"]))


# ---- shipped models


@pytest.mark.parametrize("name", list_pretrained())
def test_shipped_models_make_images_and_are_small(name):
    module = from_pretrained(name)
    made = module.sample(3) if hasattr(module, "sample") else module.decode(torch.randn(3, *module.latent_shape))
    assert made.shape == (3, *module.image_shape)
    assert sum(path.stat().st_size for path in (PRETRAINED / name).iterdir()) <= 4_000_000
    facts = list_pretrained()[name]
    assert {"data", "config", "seed", "scores", "commit", "licence"} <= facts.keys()
    assert facts["config"] in list_configs()


def test_what_is_shipped():
    shipped = {"gan_digits", "wgan_gp_digits", "vae_digits", "cgan_digits"}
    assert shipped <= set(list_pretrained())
    assert sum(path.stat().st_size for path in PRETRAINED.rglob("*") if path.is_file()) <= 24_000_000


def test_a_damaged_shipped_file_is_told(tmp_path, monkeypatch):
    shutil.copytree(PRETRAINED, tmp_path / "pretrained")
    for place in ("stored", "shipped"):
        monkeypatch.setattr(f"lit_gen.{place}.PRETRAINED", tmp_path / "pretrained")
    from_pretrained("gan_digits")
    with (tmp_path / "pretrained" / "gan_digits" / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    with pytest.raises(ValueError, match=r"gan_digits.*model.safetensors: damaged"):
        from_pretrained("gan_digits")


def test_torch_hub_finds_them():
    repository = str(PRETRAINED.parents[2])
    module = torch.hub.load(repository, "pretrained", "gan_digits", source="local")
    assert torch.equal(drawn(module), drawn(from_pretrained("gan_digits")))
