"""A folder for a Space: whole, and enough to run without what wrote it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import lit_gen
from lit_gen.cli.app import main
from lit_gen.cli.commands.explore import name_of
from lit_gen.cli.exploring import space
from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.latent_space import save_directions, sefa

PROJECT = (Path(__file__).parents[3] / "pyproject.toml").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "digits"
    main(["explore", "vae_digits", "--space", str(path)])
    return path


def test_what_is_in_it(folder):
    assert {path.name for path in folder.iterdir()} == {
        "app.py", "requirements.txt", "README.md", "LICENSE", "model", "lit_gen", "datamodules",
    }  # fmt: skip
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert {path.name for path in (folder / "model").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    front, body = (folder / "README.md").read_text().split("---\n", 2)[1:]
    facts = yaml.safe_load(front)
    assert facts["title"] == "vae_digits"
    assert (facts["sdk"], facts["sdk_version"], facts["app_file"]) == ("gradio", space.GRADIO, "app.py")
    assert "A `VAE` of lit-gen" in body
    assert 'model = lit_gen.from_pretrained("model")' in body
    assert "- **data**: Digits" in body
    assert not [path for path in folder.rglob("*") if path.suffix in (".pyc", ".ckpt", ".yaml")]
    assert [path.relative_to(folder) for path in folder.rglob("*.safetensors")] == [Path("model/model.safetensors")]


def test_its_versions_are_this_projects(folder):
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert lines[1:] == [line for line in space.REQUIREMENTS if f'"{line}"' in PROJECT]
    least = re.search(r'explore = \["gradio>=([\d.]+),<(\d+)"\]', PROJECT)
    assert space.GRADIO.startswith(least[1])
    assert int(space.GRADIO.partition(".")[0]) < int(least[2])


def test_it_runs_by_its_own_code(folder, tmp_path):
    code = f"""
import runpy, sys
sys.path.insert(0, {str(folder)!r})
import lit_gen, datamodules
assert lit_gen.__file__.startswith({str(folder)!r}) and datamodules.__file__.startswith({str(folder)!r})
from lit_gen.cli.exploring import serving
def serve(explorer, **options):
    import numpy as np
    assert options == {{"host": "127.0.0.1"}}, options
    np.save("grid.npy", explorer.samples(0, 4, None, 0)[0])
serving.serve = serve
runpy.run_path({str(folder / "app.py")!r}, run_name="__main__")
assert not {{"lightning", "matplotlib", "scipy"}} & set(sys.modules)
"""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "GRADIO_SERVER_NAME")}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = Explorer(lit_gen.from_pretrained("vae_digits", training=False), "x").samples(0, 4, None, 0)[0]
    assert np.array_equal(np.load(tmp_path / "grid.npy"), expected)


def test_directions_go_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = lit_gen.from_pretrained("vae_digits", training=False)
    Path("found").mkdir()
    save_directions("found", model, "vae_digits", [sefa(model, 2)])
    main(["explore", "vae_digits", "--directions", "found", "--space", "space"])
    saved = lit_gen.from_pretrained("space/model", training=False)
    axes = Explorer(saved, "x", "space/found").directions.of("found")
    assert axes.names == ("sefa_0", "sefa_1")
    assert "Path(__file__).parent / 'found'" in Path("space/app.py").read_text()


def test_a_folder_that_holds_something_stays(folder, capsys):
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit, match="2"):
        main(["explore", "vae_digits", "--space", str(folder)])
    assert "exists already and is not empty" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/x/vae_digits", "vae_digits"),
        ("/runs/vae_digits/2026-01-01_00-00-00/checkpoints/last.ckpt", "vae_digits"),
        ("/x/mine.ckpt", "mine"),
    ],
)
def test_what_a_page_is_called(path, name):
    assert name_of(Path(path)) == name
