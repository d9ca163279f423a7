"""Trained models on a machine without the training stack: what sampling needs, imports and costs."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import numpy as np
import pytest
import torch

import lit_gen
from lit_gen import models, modules
from lit_gen.kernels import guard
from lit_gen.pretrained.specification import parameters

LIGHT = ("torch", "numpy", "safetensors")
HEAVY = {"lightning", "jsonargparse", "torchmetrics", "scipy", "matplotlib", "wandb", "sklearn", "torchvision", "yaml"}
COMPILER = "torch._dynamo"  # which PyTorch imports on demand, for longer than all else takes
SHIPPED = sorted(lit_gen.list_pretrained())
BLOCK = """
import json, sys

class Absent:
    names = set(json.loads(sys.argv[1]))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def needed(names):
    """These packages and all that they require."""
    found, todo = set(), list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name not in found:
            found.add(name)
            try:
                required = requires(name) or []
            except PackageNotFoundError:
                continue
            todo += [re.match(r"[\w.-]+", line)[0] for line in required if "extra ==" not in line]
    return found


def absent():
    """Every installed module that doesn't belong to the packages of ``LIGHT``."""
    kept = needed(LIGHT)
    homes = packages_distributions().items()
    others = {name for name, owners in homes if not {re.sub(r"[-_.]+", "-", o).lower() for o in owners} & kept}
    return sorted(others - {"lit_gen", "datamodules"})


def ran(code, *arguments, **options):
    """What a process of its own prints, on one thread as the tests: the number of threads changes last bits."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shipped_models_sample_with_pytorch_alone(tmp_path):
    names = absent()
    assert HEAVY | {"PIL", "rich", "huggingface_hub"} <= set(names)
    code = f"""{BLOCK}
import numpy as np, torch, lit_gen
samples = {{}}
for name in lit_gen.list_pretrained():
    model, generator = lit_gen.from_pretrained(name), torch.Generator().manual_seed(0)
    if hasattr(model, "sample"):
        samples[name] = model.sample(3, generator=generator).numpy()
    else:
        samples[name] = model.decode(torch.randn(3, *model.latent_shape, generator=generator)).numpy()
    part = "decoder" if hasattr(model, "decoder") else "generator"
    assert isinstance(lit_gen.from_pretrained(name, part), torch.nn.Module)
np.savez("samples.npz", **samples)
sys.argv = ["lit-gen", "sample", "cgan_digits", "-n", "4", "--labels", "3", "--out", "digits.npz"]
from lit_gen.__main__ import main
main()
try:
    lit_gen.from_pretrained("vae_digits", training=True)
except ModuleNotFoundError as error:
    print(error)
"""
    told = ran(code, json.dumps(names), cwd=tmp_path)
    assert "training=True: needs the package lightning, which is not installed" in told
    with np.load(tmp_path / "samples.npz") as samples:
        for name in SHIPPED:
            full, generator = lit_gen.from_pretrained(name), torch.Generator().manual_seed(0)
            if hasattr(full, "sample"):
                made = full.sample(3, generator=generator)
            else:
                made = full.decode(torch.randn(3, *full.latent_shape, generator=generator))
            assert np.array_equal(samples[name], made.numpy())
    with np.load(tmp_path / "digits.npz") as arrays:
        assert arrays["images"].shape == (4, 8, 8)
        assert arrays["labels"].tolist() == [3] * 4


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_without_its_training_is_the_same_model(name):
    light, full = lit_gen.from_pretrained(name, training=False), lit_gen.from_pretrained(name, training=True)
    assert type(light) is getattr(models, type(full).__name__)
    assert type(full) is getattr(modules, type(full).__name__)
    assert isinstance(full, type(light))
    described = {key: value for key, value in full.hparams.items() if key != "_instantiator"}
    assert json.dumps(light.hparams) == json.dumps(described)
    images = torch.rand(4, *light.image_shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = (torch.arange(4),) if getattr(light, "conditional", False) else ()
    for method in [method for method in ("encode", "score") if hasattr(full, method)]:
        assert torch.equal(getattr(light, method)(images, *labels), getattr(full, method)(images, *labels))
    shape = light.latent_shape if hasattr(light, "latent_shape") else (light.latent_dim,)
    z = torch.randn(4, *shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(light.decode(z, *labels), full.decode(z, *labels))


def test_every_class_that_trains_has_one_that_does_not():
    trained = [name for name in lit_gen.__all__ if name[0].isupper() and name != "GenerativeModule"]
    for name in trained:
        light, full = getattr(models, name), getattr(modules, name)
        assert issubclass(full, light)
        assert full.__init__ is light.__init__
        assert parameters(full) == parameters(light)


@pytest.mark.parametrize("average", [None, 100])
def test_checkpoints_and_folders_come_from_either(average, tmp_path):
    full = lit_gen.CycleGAN((3, 16, 16), ema_half_life=average)
    lit_gen.save_pretrained(full, tmp_path / "full")
    light = lit_gen.from_pretrained(tmp_path / "full", training=False)
    lit_gen.save_pretrained(light, tmp_path / "light")
    again = lit_gen.from_pretrained(tmp_path / "light", training=True)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(light.translate(images), full.translate(images))
    assert torch.equal(again.cycle(images), light.cycle(images))


def test_loading_imports_and_starts_nothing_slow():
    for name in ("dcgan_mnist", "vae_digits"):
        part = "decoder" if name == "vae_digits" else "generator"
        code = f"""
import sys, time
import torch
start = time.process_time()
import lit_gen
lit_gen.from_pretrained({name!r}, {part!r})
own = time.process_time() - start
assert own < 0.5 * start, (own, start)  # about a tenth; a second import, or a compiler's, is as much as PyTorch's
print(*sys.modules)
"""
        imported = ran(code).split()
        assert not {module.partition(".")[0] for module in imported} & (HEAVY | {"PIL", "rich", "huggingface_hub"})
        assert COMPILER not in imported


COMMANDS = {
    "sample": ["sample", "gan_digits", "-n", "4", "--out", "grid.png"],
    "encode": ["encode", "vae_digits", "images.npz"],
    "invert": ["invert", "vae_digits", "images.npz", "--steps", "2"],
    "directions": ["directions", "gan_digits", "--out", "found"],
    "sample a video": ["sample", "gan_digits", "-n", "4", "--interpolate", "--frames", "3", "--video", "paths.gif"],
    "encode files": ["encode", "vae_digits", "images"],
    "export": ["export", "vae_digits", "--format", "safetensors"],
    "export a network": ["export", "gan_digits", "--format", "torch_export"],
    "explore as a folder": ["explore", "vae_digits", "--space", "space"],
    "list": ["list"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_for_trained_models_import_no_training_stack(command, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8), np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    if command == "encode files":
        from PIL import Image

        (tmp_path / "images").mkdir()
        Image.fromarray(pixels[0]).save(tmp_path / "images" / "a.png")
    code = f"""
import sys
sys.argv = ["lit-gen", *{COMMANDS[command]!r}]
from lit_gen.__main__ import main
main()
print("imported:", *sys.modules)
"""
    imported = {name.partition(".")[0] for name in ran(code, cwd=tmp_path).rpartition("imported:")[2].split()}
    assert "lit_gen" in imported
    assert not imported & (HEAVY | {"rich", "huggingface_hub", "lightning_utilities"})


def test_mistakes_of_a_description_are_one_line_that_names_them(tmp_path):
    lit_gen.save_pretrained(lit_gen.from_pretrained("vae_digits"), tmp_path / "vae")
    path = tmp_path / "vae" / "config.json"
    config = json.loads(path.read_text())
    for change, told in (
        ({"latent_dims": 3}, "latent_dims"),
        ({"latent_dim": "three"}, "latent_dim"),
        ({"objective": 3}, "objective=3"),
        ({"decoder": 3}, "decoder=3"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"encoder": {"class_path": "lit_gen.networks.MLPEncoder", "init_args": {"wide": 3}}}, "wide"),
        ({"optimizer": {"class_path": "os.system"}}, "outside the trusted packages"),
    ):
        path.write_text(json.dumps({**config, "init_args": config["init_args"] | change}))
        for training in (False, True):
            with pytest.raises(ValueError, match=re.escape(told)) as error:
                lit_gen.from_pretrained(tmp_path / "vae", training=training)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("how", ["dtype", "converted", "autocast"])
def test_a_light_model_is_guarded_where_it_computes_in_16_bits(how, monkeypatch):
    asked = []
    monkeypatch.setattr(guard, "guard_convolutions", lambda: asked.append(True))
    model = lit_gen.from_pretrained("gan_digits", training=False, dtype=torch.bfloat16 if how == "dtype" else None)
    assert bool(asked) == (how == "dtype")
    if how == "converted":
        model.bfloat16()
    elif how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            model.sample(1)
    assert asked


def test_only_what_trains_starts_from_the_weights_of_another():
    with pytest.raises(ValueError, match=r"init_from='vae_digits'.*lit_gen\.modules"):
        models.VAE((1, 8, 8), 2, init_from="vae_digits")
