"""``lit-gen list``: the shipped models and configs. Imports no torch."""

import json
import shutil
import textwrap

from lit_gen.cli.words import CommandParser
from lit_gen.pretrained.shipped import class_of, list_configs, list_pretrained

_ENCODES = "autoencoders, for lit-gen encode NAME IMAGES and lit_gen.from_pretrained(NAME)"
_TRANSLATES = "translators, for lit-gen predict --ckpt_path NAME and lit_gen.from_pretrained(NAME)"
TITLES = {  # of a model's table, by its class
    "": "models, for lit-gen sample NAME and lit_gen.from_pretrained(NAME)",
    **dict.fromkeys(("Autoencoder", "AutoencoderKL", "VQGAN", "VQVAE"), _ENCODES),
    **dict.fromkeys(("CycleGAN", "Pix2Pix", "CUT"), _TRANSLATES),
}


def run(arguments: list[str]) -> None:
    """Print the tables, or their content as JSON."""
    command = CommandParser("list", "The shipped models and configs.")
    command.add_argument("--json", action="store_true", help="print what each model's card says, and the configs")
    if command.parse_args(arguments).json:
        print(json.dumps({"models": list_pretrained(), "configs": list_configs()}, indent=2))
        return
    tables: dict[str, dict[str, str]] = {title: {} for title in TITLES.values()}
    for name, facts in list_pretrained().items():
        scores = ", ".join(f"{score} {value}" for score, value in facts.get("scores", {}).items())
        tables[TITLES.get(class_of(name), TITLES[""])][name] = f"{facts.get('data', '')}: {scores}"
    for title, models in tables.items():
        if models:
            _print(title, models)
    _print("configs, for lit-gen fit --config NAME", list_configs())


def _print(title: str, entries: dict[str, str]) -> None:
    print(f"{title}:")
    column = max(map(len, entries), default=0) + 4
    for name, text in entries.items():
        width = max(40, shutil.get_terminal_size().columns - column)
        first, *rest = textwrap.wrap(text, width) or [""]
        print(f"  {name:<{column - 2}}{first}")
        for line in rest:
            print(" " * column + line)
    print()
