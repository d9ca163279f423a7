"""The page as a folder that a Hugging Face Space runs as it is, and so does any machine, without a network."""

import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datamodules
import lit_gen
from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.files import whole_folder
from lit_gen.latent_space.stored import DESCRIPTION, VECTORS
from lit_gen.pretrained.saving import save_pretrained
from lit_gen.pretrained.stored import CARD

GRADIO = "6.31.0"
REQUIREMENTS = ("torch>=2.11", "numpy>=1.26", "safetensors>=0.5", "pillow>=12.1.1")
CPU = "--extra-index-url https://download.pytorch.org/whl/cpu"  # a Space's free machine has no GPU
APP = '''"""The page of a trained model: ``python app.py`` serves it, here or on a Hugging Face Space."""

import os
from pathlib import Path

from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.cli.exploring.serving import serve
from lit_gen.pretrained.loading import from_pretrained

if __name__ == "__main__":
    model = from_pretrained(Path(__file__).parent / "model", trusted={trusted}, training=False)
    serve(Explorer(model, {name}{directions}), host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
'''
README = """---
title: {title}
sdk: gradio
sdk_version: {gradio}
app_file: app.py
license: {licence}
pinned: false
---
{card}
The page needs `pip install -r requirements.txt gradio=={gradio}` and runs by `python app.py`. The folders `lit_gen` and
`datamodules` are those of lit-gen {version}, under the licence in `LICENSE`; `model` is what `lit_gen.from_pretrained`
reads.
"""


def write_space(
    explorer: Explorer,
    folder: str | Path,
    facts: dict[str, Any] | None = None,
    trusted: Sequence[str] = (),
    directions: str | Path | None = None,
) -> None:
    """Write ``app.py``, ``requirements.txt``, ``README.md``, the model and the code that runs it; whole or not at all.

    Args:
        explorer: The model.
        folder: A new folder, or an empty one.
        facts: What the card says of the model.
        trusted: Packages of the user's that the model names, which have to be put beside ``app.py``.
        directions: The folder of those that the page has.

    Raises:
        ValueError: if the folder holds something.
    """
    folder, facts = Path(folder), facts or {}
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--space {folder}: exists already and is not empty")
    with whole_folder(folder) as unfinished:
        save_pretrained(explorer.model, unfinished / "model", facts, explorer.name)
        card = (unfinished / "model" / CARD).read_text().split("---\n", 2)[2]
        card = card.replace(f'from_pretrained("{explorer.name}")', 'from_pretrained("model")')
        told = {"title": json.dumps(explorer.name), "licence": facts.get("licence", "other"), "card": card}
        (unfinished / "README.md").write_text(README.format(gradio=GRADIO, version=lit_gen.__version__, **told))
        given = ""
        if directions is not None:
            place = unfinished / Path(directions).name
            place.mkdir()
            for name in (DESCRIPTION, VECTORS):
                shutil.copyfile(Path(directions) / name, place / name)
            given = f", Path(__file__).parent / {place.name!r}"
        (unfinished / "app.py").write_text(
            APP.format(trusted=list(trusted), name=repr(explorer.name), directions=given)
        )
        (unfinished / "requirements.txt").write_text("\n".join([CPU, *REQUIREMENTS, ""]))
        (unfinished / "LICENSE").write_text(_licence())
        for package in (lit_gen, datamodules):
            _copy_code(Path(str(package.__file__)).parent, unfinished)


def _copy_code(package: Path, folder: Path) -> None:
    """A package's modules, without the weights that it ships."""
    for module in package.rglob("*.py"):
        place = folder / module.relative_to(package.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, place)


def _licence() -> str:
    """This library's, from the checkout or from what was installed."""
    here = Path(lit_gen.__file__).parent.with_name("LICENSE")
    if here.is_file():
        return here.read_text()
    return importlib.metadata.distribution("lit-gen").read_text("licenses/LICENSE") or ""
