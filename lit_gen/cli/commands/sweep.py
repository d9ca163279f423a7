"""``lit-gen sweep``: a search for options by Optuna, on this machine, without an account. Imports no torch."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lit_gen.cli.commands.compare import print_comparison
from lit_gen.cli.sweeping.space import KINDS, PREFIX, Dimension, dimensions
from lit_gen.cli.sweeping.study import Sweep, require_optuna
from lit_gen.cli.words import CommandParser, report
from lit_gen.pretrained.shipped import configs_folder
from lit_gen.tracking.comparison import flat, grouped
from lit_gen.tracking.runs import read_run
from lit_gen.yaml_text import read_yaml

SECTION = "sweep"  # of a config: what this command takes from it
TRIALS = 20
# One process each, whose output goes to a file.
OF_A_TRIAL = ["--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.enable_progress_bar=false"]


def run(arguments: list[str]) -> None:
    """Search, and print the trials side by side; a mistake is one line and exit status 2."""
    config, own, space, of_fit = split(arguments)
    options = parser().parse_args(own)
    try:
        require_optuna()
        given, section = read_config(config)
        for name in ("trials", "processes"):
            value = getattr(options, name) or section.get(name, TRIALS if name == "trials" else 1)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"--{name} {value}: at least 1 is needed")
            setattr(options, name, value)
        searched = dimensions(section.get("space") or {}, space)
        if not searched:
            raise ValueError(f"{PREFIX}OPTION KIND VALUES is required: what to search; {'; '.join(KINDS.values())}")
        experiment = options.experiment or f"sweep_{Path(config or 'of_options').stem}"
        fixed = ["fit", *given, *of_fit, *OF_A_TRIAL, "--experiment", experiment]
        resolved = resolve(fixed, searched)
        sweep = begin(experiment, searched, fixed, resolved, options)
        sweep.run(options.trials, options.processes, lambda line: print(f"lit-gen: {line}", flush=True))
    except (OSError, ValueError) as error:
        sys.exit(report(f"sweep: {error}"))
    except KeyboardInterrupt:
        print("lit-gen: the same command goes on with this sweep", file=sys.stderr)
        sys.exit(130)
    conclude(sweep)


def parser() -> CommandParser:
    """The command's options, besides those of ``fit``."""
    text = (
        "Searches options by Optuna: lit-gen sweep CONFIG --space.OPTION KIND VALUES, with all options of fit. Each "
        "trial is a run of its own; the score is that of --checkpoint.monitor. Given again, the command goes on. "
        f"Kinds: {'; '.join(KINDS.values())}."
    )
    command = CommandParser("sweep", text)
    add = command.add_argument
    add("--trials", type=int, help=f"in all, those of earlier sweeps of the experiment counted ({TRIALS})")
    add("--processes", type=int, help="trials at once (1)")
    add("--experiment", help="folder below that for all runs (sweep_CONFIG)")
    add("--seed", type=int, default=0, help="of the draws (0); trainings take --seed_everything")
    add("--no_prune", action="store_true", help="end no trial that falls behind the median of earlier ones")
    return command


def split(arguments: Sequence[str]) -> tuple[str | None, list[str], list[tuple[str, list[str]]], list[str]]:
    """The config, this command's own options, the space, and what is left for ``fit``."""
    own: list[str] = []
    of_fit: list[str] = []
    space: list[tuple[str, list[str]]] = []
    words = list(arguments)
    config = words.pop(0) if words and not words[0].startswith("-") else None
    known = parser()._option_string_actions
    while words:
        option, equals, value = words.pop(0).partition("=")
        values = [value] if equals else []
        while words and not words[0].startswith("--"):
            values.append(words.pop(0))
        if option.startswith(PREFIX):
            space.append((option.removeprefix(PREFIX), " ".join(values).split()))
        else:
            of = own if option in known else of_fit
            of += [f"{option}={values[0]}", *values[1:]] if equals else [option, *values]
    return config, own, space, of_fit


def read_config(name: str | None) -> tuple[list[str], dict[str, Any]]:
    """The config as an argument of ``fit``, and its section for this command.

    Raises:
        ValueError: for a file that is no YAML, or a section with another key.
    """
    if name is None:
        return [], {}
    path = Path(name) if Path(name).is_file() else configs_folder() / f"{name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        return ["--config", name], {}  # which fit refuses, with its words
    try:
        content = read_yaml(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(content, dict) or SECTION not in content:
        return ["--config", name], {}
    section = content.pop(SECTION)
    keys = ("trials", "processes", "space")
    if not isinstance(section, dict) or not isinstance(section.get("space", {}), dict) or set(section) - set(keys):
        raise ValueError(f"{path}: {SECTION}={section!r}: accepted are {', '.join(keys)}, space with options by name")
    return ["--config", json.dumps(content)], section


def resolve(fixed: Sequence[str], searched: Sequence[Dimension]) -> dict[str, Any]:
    """The whole configuration of a trial, as ``fit`` understands it.

    Raises:
        ValueError: for options that ``fit`` refuses, or a configuration without a monitored score.
    """
    first = [f"--{dimension.option}={dimension.values[0]}" for dimension in searched]
    command = [sys.executable, "-m", "lit_gen", *fixed, *first, "--print_config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = [line for line in done.stderr.splitlines() if line.strip()] or ["no further explanation"]
        raise ValueError(told[-1].removeprefix("lit-gen: error: "))
    config: dict[str, Any] = yaml.safe_load(done.stdout)
    if config["checkpoint"]["monitor"] is None:
        raise ValueError("--checkpoint.monitor is required: the score by which trials are compared, such as fd")
    return config


def begin(
    experiment: str, searched: Sequence[Dimension], fixed: Sequence[str], resolved: dict[str, Any], options: Any
) -> Sweep:
    """The study, new or as it was left."""
    searched_names = {dimension.option for dimension in searched}
    configuration = {
        name: value
        for name, value in flat(resolved)
        if not any(name == option or name.startswith(f"{option}.") for option in searched_names)
    }
    folder = Path(resolved["trainer"]["default_root_dir"] or "runs") / experiment
    mode = resolved["checkpoint"]["mode"]
    return Sweep(folder, searched, fixed, mode, configuration, options.seed, not options.no_prune)


def conclude(sweep: Sweep) -> None:
    """Print the trials side by side, the best first; exit status 1 if none has a score."""
    groups = grouped(map(read_run, sweep.runs()))
    scored = {name: None for group in groups if (name := group.monitor) in group.names}
    if not scored:
        sys.exit(report(f"sweep: no trial has a score; what they said is in {sweep.folder / 'output'}"))
    print()
    print_comparison(groups, [str(name) for name in scored])
