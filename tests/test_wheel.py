"""The wheel: what is in it, and that it works in an environment of its own without the source tree."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lit_gen.pretrained.shipped import list_configs, list_pretrained

ROOT = Path(__file__).parent.parent
SUFFIXES = {".py", ".typed", ".yaml", ".safetensors", ".json", ".md", ".css", ".js"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def call(*command, **options) -> str:
    done = subprocess.run(
        list(map(str, command)), env=ENVIRONMENT, capture_output=True, text=True, timeout=900, **options
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    """The folder ``bin`` of a new environment with the wheel and, from this one, what it depends on; offline."""
    folder = tmp_path_factory.mktemp("fresh")
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A .pth file in a folder that is itself named by a .pth file isn't read: an editable install stays out.
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    call(sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--no-deps", "--no-index", wheel)
    return folder / "bin"


def test_what_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("dist-info/METADATA"))
    own = {name for name in names if ".dist-info/" not in name}
    files = [path for package in ("lit_gen", "datamodules") for path in (ROOT / package).rglob("*.py")]
    sources = {str(path.relative_to(ROOT)) for path in files}
    assert {name for name in own if name.endswith(".py")} == sources
    assert {"lit_gen/py.typed", "datamodules/py.typed"} <= own
    assert {f"lit_gen/configs/{name}.yaml" for name in [*list_configs(), "default"]} <= own
    assert {f"lit_gen/pretrained/weights/{name}.safetensors" for name in ("digits", "mnist", "cifar10")} <= own
    pretrained = {f"lit_gen/pretrained/weights/{name}/model.safetensors" for name in list_pretrained()}
    assert {*pretrained, "lit_gen/pretrained/weights/SHA256SUMS"} <= own
    junk = {name for name in own if Path(name).suffix not in SUFFIXES} - {"lit_gen/pretrained/weights/SHA256SUMS"}
    assert not junk
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 30_000_000
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not any(tool in line for line in required for tool in ("pytest", "onnx", "ruff", "mypy", "hatchling"))


def test_a_package_index_takes_both(dist):
    pytest.importorskip("twine")
    told = call(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()))
    assert told.count("PASSED") == 2


def test_first_commands_work_outside_of_the_tree(fresh, tmp_path):
    call(fresh / "lit-gen", "sample", "rpgan_mnist", cwd=tmp_path)
    assert (tmp_path / "samples.png").stat().st_size > 5_000
    steps = ["--trainer.max_steps", "20", "--trainer.enable_progress_bar", "false"]
    call(fresh / "lit-gen", "fit", "--config", "gan_digits", *steps, cwd=tmp_path)
    (run,) = tmp_path.glob("runs/gan_digits/*")
    assert (run / "model" / "model.safetensors").is_file()
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_it_works_without_the_source_tree(fresh, tmp_path):
    assert "vae_digits" in call(fresh / "lit-gen", "list", cwd=tmp_path)
    code = f"""
import sys
from pathlib import Path
import datamodules, lit_gen
from lit_gen.metrics import load_extractor
for package in (lit_gen, datamodules):
    assert Path(package.__file__).is_relative_to({str(fresh.parent)!r}), package.__file__
assert not any(Path(path, "configs").is_dir() for path in sys.path)
assert {{"digits", "mnist", "cifar10"}} == {{load_extractor(name).name for name in ("digits", "mnist", "cifar10")}}
for name in lit_gen.list_pretrained():
    lit_gen.from_pretrained(name)
sys.path.append({str(ROOT / "tests")!r})
import documented
names = documented.execute_code("README.md")
assert names["images"].shape == (64, 1, 8, 8) and "test/fd_digits_1000" in names["scores"]
documented.execute("README.md", "lit-gen fit --config vae_digits --model.latent_dim 8")
"""
    call(fresh / "python", "-c", code, cwd=tmp_path)


@pytest.mark.slow
def test_all_of_the_readme_works_without_the_source_tree(fresh, tmp_path):
    told = call(
        fresh / "python", ROOT / "tests" / "documented.py", tmp_path, "README.md", "commands.md", "extending.md"
    )
    assert told.count("$ lit-gen ") > 40


@pytest.mark.slow
def test_a_user_s_code_passes_mypy_strict(fresh, tmp_path):
    """Against the installed package and its py.typed; test_api.py looks at the signatures in a moment."""
    tests = ROOT / "tests"
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = true\nmypy_path = {tests / 'example_package'}\n")
    options = ["--python-executable", fresh / "python", "--cache-dir", tmp_path / "cache", "--config-file", "mypy.ini"]
    call(sys.executable, "-m", "mypy", *options, tests / "typed_user.py", cwd=tmp_path)
