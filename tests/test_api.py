"""What an ``import`` costs, and what is public, typed and documented."""

import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import public_api
import pytest
from torch import Tensor, nn

import lit_gen
from lit_gen.modules import VAE, GenerativeModule, LatentVariableModel

FROZEN = Path(__file__).parent / "public_api.txt"
PUBLIC = [
    (package, name, getattr(sys.modules[package], name))
    for package in public_api.PACKAGES
    for name in (public_api.names(package))
]


def imported(statement):
    code = f"{statement}; import sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_package_itself_is_instant():
    assert not {"torch", "lightning"} & imported("import lit_gen")


def test_training_needs_no_rarely_used_library():
    rare = {"wandb", "sklearn", "matplotlib", "huggingface_hub", "torchvision"}
    assert not rare & (imported("import lit_gen.cli.app") - imported("import lightning.pytorch.cli, torchmetrics"))


def test_public_names():
    modules = ["CUT", "GAN", "IWAE", "VAE", "VQGAN", "VQVAE", "WGAN", "WGANGP", "Autoencoder", "AutoencoderKL"]
    modules += ["CodePrior", "CycleGAN", "GenerativeModule", "HierarchicalVAE", "Pix2Pix"]
    functions = ["evaluate", "fit", "from_diffusers", "from_pretrained", "list_pretrained", "push_to_hub"]
    functions += ["save_pretrained"]
    assert lit_gen.__all__ == modules + functions
    assert all(issubclass(getattr(lit_gen, name), lit_gen.GenerativeModule) for name in modules)
    assert all(callable(getattr(lit_gen, name)) for name in functions)
    assert set(lit_gen.__all__) <= set(dir(lit_gen))
    with pytest.raises(AttributeError, match="nonsense"):
        lit_gen.nonsense  # noqa: B018


def test_the_public_api_is_what_was_agreed():
    """A change of a public name or signature is a change of this file, too, for all to see."""
    frozen, found = FROZEN.read_text().splitlines(), public_api.listing()
    added = "".join(f"\n+ {line}" for line in found if line not in frozen)
    removed = "".join(f"\n- {line}" for line in frozen if line not in found)
    command = "python tests/public_api.py > tests/public_api.txt"
    assert found == frozen, f"the public API has changed; if that is meant, run `{command}`{removed}{added}"


def own(value):
    return getattr(value, "__module__", "").split(".")[0] in ("lit_gen", "datamodules")


def functions_of(value):
    """The function, or a class's constructor and public methods that are written in this library."""
    if not isinstance(value, type):
        return [value] if inspect.isfunction(value) else []
    members = {name: getattr(value, name) for name in dir(value) if name == "__init__" or not name.startswith("_")}
    return [member for member in members.values() if inspect.isfunction(member) and own(member)]


def test_everything_public_is_documented():
    undocumented = []
    for package, name, value in PUBLIC:
        if not (isinstance(value, type) or inspect.isfunction(value)):
            continue  # tables and type aliases
        if not (value.__doc__ or "").strip() or (value.__doc__ or "").startswith(f"{name}("):  # a dataclass's own
            undocumented.append(f"{package}.{name}")
        methods = [function for function in functions_of(value) if not function.__name__.startswith("_")]
        undocumented += [f"{package}.{name}.{f.__name__}" for f in methods if not inspect.getdoc(f)]
    assert not undocumented


def test_every_option_is_explained():
    """Constructors' arguments stand in the docstring of the class or of a base, from where ``--help`` takes them."""
    unexplained = []
    for package, name, value in PUBLIC:
        if isinstance(value, type) and not issubclass(value, Warning):
            told = " ".join(base.__doc__ or "" for base in value.__mro__ if own(base))
            arguments = [
                a
                for a in inspect.signature(value).parameters.values()
                if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)
            ]
            missing = [a.name for a in arguments if not re.search(rf"\b{a.name}\b", told)]
            unexplained += [f"{package}.{name}: {', '.join(missing)}"] if missing else []
    assert not unexplained


def test_everything_public_is_typed():
    untyped = []
    for package, name, value in PUBLIC:
        for function in functions_of(value):
            arguments = [a for a in inspect.signature(function).parameters.values() if a.name != "self"]
            whole = all(a.annotation is not a.empty for a in arguments)
            returns = inspect.signature(function).return_annotation is not inspect.Signature.empty
            if not whole or not (returns or function.__name__ == "__init__"):
                untyped.append(f"{package}.{name}.{function.__name__}")
    assert not untyped
    assert all(
        (Path(sys.modules[package].__path__[0]) / "py.typed").is_file() for package in ("lit_gen", "datamodules")
    )


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (LatentVariableModel.sample, Tensor),
        (VAE.encode, Tensor),
        (VAE.decode, Tensor),
        (lit_gen.evaluate, dict[str, float]),
        (lit_gen.from_pretrained, nn.Module),
        (lit_gen.list_pretrained, dict[str, dict[str, typing.Any]]),
        (GenerativeModule.network, nn.Module),
    ],
)
def test_what_comes_back_has_a_type(function, expected):
    assert typing.get_type_hints(function)["return"] == expected
