"""``lit-gen``, also as ``python -m lit_gen``: what needs no torch is answered without importing it."""

import sys

OVERVIEW = """usage: lit-gen COMMAND [options]

train and measure, from options or YAML:
  fit         train a model on data:  lit-gen fit --config gan_digits;  lit-gen fit --model VAE --data DigitsDataModule
  validate    score a checkpoint on the validation split
  test        score a checkpoint on the test split
  predict     samples, or translations, as PNG files

use what is trained:
  sample      images from a model, as a grid, a folder or an array; paths between latents
  encode      embed images in a model's latent space
  evaluate    scores of generated images against real ones, from folders, arrays or checkpoints
  export      a model or one of its networks as safetensors, ONNX or a torch.export program

look around:
  list        the shipped models and configs
  check       what a folder, archive or array of images holds, and every file that can't be read
  doctor      versions, devices, precisions, weights and accounts found

lit-gen COMMAND --help tells the options of each."""


def main() -> None:
    """Answer, or hand on to the command."""
    arguments = sys.argv[1:]
    if not arguments or arguments in (["-h"], ["--help"], ["help"]):
        print(OVERVIEW)
    elif arguments[0] == "list":
        from lit_gen.cli.commands.list import run

        run(arguments[1:])
    else:
        from lit_gen.cli.app import main as run_command

        run_command(arguments)


if __name__ == "__main__":
    main()
