"""What an ``import`` costs, and what is public."""

import subprocess
import sys

import pytest

import lit_gen


def imported(statement):
    code = f"{statement}; import sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_package_itself_is_instant():
    assert not {"torch", "lightning"} & imported("import lit_gen")


def test_training_needs_no_rarely_used_library():
    rare = {"wandb", "sklearn", "matplotlib", "huggingface_hub", "torchvision"}
    assert not rare & (imported("import lit_gen.cli") - imported("import lightning.pytorch.cli, torchmetrics"))


def test_public_names():
    modules = ["GAN", "IWAE", "VAE", "WGAN", "WGANGP", "CycleGAN", "GenerativeModule", "HierarchicalVAE"]
    functions = ["from_pretrained", "list_pretrained", "save_pretrained"]
    assert lit_gen.__all__ == modules + functions
    assert all(issubclass(getattr(lit_gen, name), lit_gen.GenerativeModule) for name in modules)
    assert all(callable(getattr(lit_gen, name)) for name in functions)
    assert set(lit_gen.__all__) <= set(dir(lit_gen))
    with pytest.raises(AttributeError, match="nonsense"):
        lit_gen.nonsense  # noqa: B018
