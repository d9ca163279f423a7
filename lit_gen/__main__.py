"""``lit-gen``, also as ``python -m lit_gen``: what a command doesn't need isn't imported."""

import importlib
import importlib.util
import os
import sys
from importlib.metadata import version
from pathlib import Path

from lit_gen.cli.closed_output import ended_by_closed_output

# Commands that import neither Lightning nor its parser.
WITHOUT_TRAINER = ("sample", "encode", "invert", "directions", "export", "explore")

OVERVIEW = """usage: lit-gen COMMAND [options]

train and measure, from options or YAML:
  fit         train a model on data:  lit-gen fit --config gan_digits;  lit-gen fit --model VAE --data DigitsDataModule
  validate    score a checkpoint on the validation split
  test        score a checkpoint on the test split
  predict     samples, or translations, as PNG files
  sweep       search options by Optuna, each trial a run:  lit-gen sweep vae_digits --space.model.latent_dim int 2 32

use what is trained:
  sample      images from a model, as a grid, a folder or an array; paths between latents
  encode      embed images in a model's latent space
  invert      latents whose image is a given one, of GANs too
  directions  latent directions in which a model's images change, for sample --direction
  video       a run's pictures over time as one video
  explore     look at a model on a page in the browser: seeds, sliders, paths, pictures of your own
  evaluate    scores of generated images against real ones, from folders, arrays or checkpoints
  export      a model or one of its networks as safetensors, ONNX or a torch.export program
  push        a model as a folder for the Hugging Face Hub, and the command that uploads it

look around:
  compare     runs side by side: scores over seeds, and the options that differ
  report      runs as one HTML file: curves, pictures over time, alarms, configurations
  list        the shipped models and configs
  check       what a folder, archive or array of images holds, and every file that can't be read
  convert     data as a folder, .zip, .npz, shards or parquet, with the same pixels, labels and splits
  doctor      versions, devices, precisions, weights and accounts found

lit-gen COMMAND --help tells the options of each."""
MISFIT = (
    "torchvision {torchvision} is built for another torch than {torch}; install both from one place, as in pip install "
    "--force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cpu"
)
WITHOUT_TORCH = ("compare", "list", "report", "sweep", "video")


def take_own_datamodules() -> str | None:
    """Import this project's ``datamodules``, also where a folder of that name in the user's way is found first.

    Returns:
        What is wrong if there are none; else None.
    """
    own = Path(__file__).parents[1] / "datamodules" / "__init__.py"  # beside lit_gen, installed or in a checkout
    found = importlib.util.find_spec("datamodules")
    where = (
        "no such package" if found is None else found.origin or next(iter(found.submodule_search_locations or ["?"]))
    )
    if Path(where).exists() and Path(where).resolve() == own.resolve():
        return None
    if not own.is_file():
        return f"this project's package datamodules is not beside lit_gen, in {own.parent} (found: {where})"
    print(f"lit-gen: note: {where} has the name of this project's package datamodules, which is taken", file=sys.stderr)
    spec = importlib.util.spec_from_file_location("datamodules", own, submodule_search_locations=[str(own.parent)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["datamodules"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return None


def main() -> None:
    """Answer, or hand on to the command."""
    with ended_by_closed_output():
        _run()


def _run() -> None:
    # Of a process that is gone the others would print stacks of C++ frames.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    arguments = sys.argv[1:]
    if not arguments or arguments in (["-h"], ["--help"], ["help"]):
        print(OVERVIEW)
    elif arguments[0] in WITHOUT_TORCH:
        importlib.import_module(f"lit_gen.cli.commands.{arguments[0]}").run(arguments[1:])
    elif (mistake := take_own_datamodules()) is not None:
        sys.exit(f"lit-gen: error: {mistake}")
    elif arguments[0] in WITHOUT_TRAINER:
        from lit_gen.cli.mistakes import guarded
        from lit_gen.quiet import quieten

        quieten()
        guarded(lambda: importlib.import_module(f"lit_gen.cli.commands.{arguments[0]}").run(arguments[1:]))
    else:
        try:
            from lit_gen.cli.app import main as run_command
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            sys.exit(f"lit-gen: error: {MISFIT.format(**{name: version(name) for name in ('torch', 'torchvision')})}")
        run_command(arguments)


if __name__ == "__main__":
    main()
