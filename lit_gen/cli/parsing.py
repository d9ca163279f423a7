"""LightningCLI's options with this project's: what a user asks for, on top of what a checkpoint's run was made of."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import datamodules
from lit_gen.callbacks import Evaluate, FaultPolicy, RunCheckpoint, SampleGrid, Speed
from lit_gen.cli.errors import framework_errors, shorten
from lit_gen.cli.going_on import experiment_of
from lit_gen.cli.imports import named_packages, restrict_imports
from lit_gen.cli.own_data import CANDIDATE, choose
from lit_gen.cli.run_config import RunConfig
from lit_gen.cli.source import LIMITS, Source, differences, left_out
from lit_gen.cli.support import (
    RUNS,
    asked,
    config_texts,
    last_alone,
    names_data_alone,
    rank_zero_note,
    resolve_last,
    with_configuration,
)
from lit_gen.cli.words import report
from lit_gen.modules import GenerativeModule
from lit_gen.pretrained.shipped import configs_folder, is_addon

for _name in datamodules.__all__:  # an option names a class by its name alone if the class has been imported
    getattr(datamodules, _name)

COMMANDS = ("fit", "validate", "test", "predict")
OWN_COMMANDS = (
    "sample",
    "encode",
    "invert",
    "directions",
    "video",
    "explore",
    "evaluate",
    "export",
    "list",
    "doctor",
    "check",
    "convert",
    "extractor",
    "statistics",
    "compare",
    "report",
    "sweep",
    "push",
)  # modules of lit_gen.cli.commands, without a Trainer


FACTS: dict[str, Callable[[Any], Any]] = {
    "bounded": lambda data: getattr(data, "bounded", len(data.image_shape) == 3),
    "num_codes": lambda data: getattr(data, "num_codes", 0),
    "target_shape": lambda data: getattr(data, "target_shape", None),
}


class Parser(LightningArgumentParser):
    """Reports a wrong key, class or value in a few words, with the accepted choices."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Print one line and exit with status 2."""
        accepted = [action.dest for action in self._actions if not action.dest.endswith(("help", "config"))]
        parsers = [self, *getattr(self._subcommands_action, "choices", {}).values()]
        options = {option for parser in parsers for option in parser._option_string_actions}
        sys.exit(report(shorten(message, accepted, options)))


class ConfiguredCLI(LightningCLI):
    """LightningCLI with this project's options and callbacks, and its rules for checkpoints.

    Attributes:
        source: What the run goes on with, or measures.
        changes: How it differs from that, a line each.
    """

    def __init__(self, args: ArgsType) -> None:
        self.source: Source | None = None
        self.changes: list[str] = []
        self._plain: dict[str, Any] = {}  # the source's own configuration
        defaults = {"default_config_files": [str(configs_folder() / "default.yaml")]}
        super().__init__(
            model_class=GenerativeModule,
            datamodule_class=datamodules.DataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_class=Parser,
            parser_kwargs={command: {**defaults, "allow_abbrev": False} for command in COMMANDS},
            auto_configure_optimizers=False,
            save_config_callback=RunConfig,
            save_config_kwargs={"overwrite": True},  # in the folder of this run, which may go on in it
            seed_everything_default=0,
            args=args,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Read options and files on top of what the checkpoint's run was configured with, if there is one."""
        arguments = [str(argument) for argument in args]  # type: ignore[union-attr]
        command = next((argument for argument in arguments if argument in COMMANDS), None)
        given = asked(arguments)
        if given == "last" and command is not None and (found := last_alone(arguments, command)) is not None:
            given, arguments = found, [*arguments, "--ckpt_path", str(found)]
        if command is not None and given not in (None, "last"):
            arguments = self._below(arguments, command, str(given))
        elif command == "fit" and names_data_alone(arguments):
            arguments = self._for_own_data(parser, arguments)
        self._parse(parser, arguments)
        if command is None or self.source is not None or (given := self.config[command].ckpt_path) is None:
            return
        if given == "last":
            given = resolve_last(self._experiment_folder(self.config[command]), command)
        if given is None:
            self.config[command].ckpt_path = None
            return
        self._parse(parser, [*self._below(arguments, command, given), "--ckpt_path", given])

    def _below(self, arguments: list[str], command: str, given: str) -> list[str]:
        """The arguments on top of a checkpoint's configuration; from here on only trusted modules are imported."""
        trusted = named_packages(arguments)
        restrict_imports(trusted)
        self.source = Source.find(given, command, trusted)
        return with_configuration(arguments, command, self.source.configuration(command))

    def _for_own_data(self, parser: LightningArgumentParser, arguments: list[str]) -> list[str]:
        """The arguments on top of what suits the data, of which is told what the user hasn't said otherwise."""
        of_data = [argument for argument in arguments if not argument.startswith("--print_config")]
        self._parse(parser, with_configuration(of_data, "fit", CANDIDATE))
        sized = any("image_size" in text for text in [*arguments, *config_texts(arguments)])
        accelerated = self.config.fit.trainer.accelerator != "cpu" and torch.accelerator.is_available()
        choice = choose(self._dump(self.config, "fit")["data"], sized, accelerated)
        if choice is None:
            return arguments
        self._parse(parser, with_configuration(of_data, "fit", choice.config))
        if choice.drop_start(self._dump(self.config, "fit")):
            self._parse(parser, with_configuration(of_data, "fit", choice.config))
        rank_zero_note("no --model, so for these images:")
        for line in choice.lines_for(self._dump(self.config, "fit")):
            rank_zero_note(f"  {line}")
        return with_configuration(arguments, "fit", choice.config)

    def _parse(self, parser: LightningArgumentParser, arguments: list[str]) -> None:
        with framework_errors():
            super().parse_arguments(parser, arguments)
            if self.source is not None:
                command = self.config.subcommand
                plain = parser.parse_object({"subcommand": command, command: self.source.configuration(command)})
                self._plain = self._dump(plain, command)

    def setup_parser(self, add_subcommands: bool, main_kwargs: Any, subparser_kwargs: Any) -> None:
        """Name the commands that Lightning doesn't know."""
        text = "Train and measure generative models. Further commands, each with its own --help: "
        description = {"prog": "lit-gen", "description": text + ", ".join(OWN_COMMANDS)}
        super().setup_parser(add_subcommands, {**main_kwargs, **description}, subparser_kwargs)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        self._preparing = subcommand
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks that every run has, each configurable under its own name."""
        parser.add_argument(
            "--experiment",
            type=str | None,
            default=None,
            help="The run's folder is <trainer.default_root_dir>/<experiment>/<time>. By default the name of the last "
            "--config, else of model and data.",
        )
        parser.add_argument(
            "--trust", nargs="+", type=str, default=[], help="Packages of your own whose classes the checkpoint names."
        )
        if self._preparing == "fit":
            parser.add_argument(
                "--new_folder",
                type=bool,
                default=False,
                help="Whether a run that goes on from --ckpt_path does so in a new folder, and not in its own.",
            )
            parser.add_argument(
                "--report",
                type=bool,
                default=False,
                help="Whether to write report.html into the run's folder at its end, as lit-gen report does.",
            )
        else:
            parser.add_argument(
                "--untrained", type=bool, default=False, help="Whether to take a network that nobody has trained."
            )
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(SampleGrid, "samples")
        parser.add_lightning_class_args(Evaluate, "evaluate")
        parser.add_lightning_class_args(Speed, "speed")
        parser.add_lightning_class_args(FaultPolicy, "faults")
        for name in ("image_shape", "num_classes"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        for name, fact in FACTS.items():  # which data modules of other libraries may leave out
            parser.link_arguments("data", f"model.init_args.{name}", fact, apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Say how the run differs from the one that it goes on with or measures."""
        command = self.config.get("subcommand")
        if not command:
            return
        config, source = self.config[command], self.source
        if source is None:
            self._require_weights(command, config)
            return
        given, stored = self._dump(self.config, command), source.stored
        if given["model"]["class_path"] != self._plain["model"]["class_path"]:
            raise ValueError(
                f"model={given['model']['class_path']}: the checkpoint {config.ckpt_path} holds a "
                f"{stored['model']['class_path']}; leave --model out to take it"
            )
        if (start := config.model.init_args.get("init_from")) is not None:  # its weights are the checkpoint's
            config.model.init_args.init_from = None
            _note(f"model.init_from={json.dumps(start)} was given, null is used, from the checkpoint")
        config_of_run = source.configuration(command)
        for key in (key for key in config_of_run if key in given):
            own = self._plain[key]
            if key == "trainer":  # whose other arguments are the machine's
                own = {name: own[name] for name in config_of_run[key]}
            for name, before, now in differences(key, own, given[key]):
                if name.rpartition(".")[2] not in (*LIMITS, "init_from"):
                    self.changes.append(f"{name}={json.dumps(now)} was given, the checkpoint has {json.dumps(before)}")
        for key, value in stored["as_stored"].items():
            for name in left_out(key, value, given.get(key)):
                _note(f"{name} of the checkpoint is not taken; give it again if it is yours")
        for line in self.changes:
            _note(line)

    def _require_weights(self, command: str, config: Any) -> None:
        """Refuse to measure a network that nobody has trained, unless that is asked for."""
        start = config.model.init_args.get("init_from")
        trial = config.trainer.fast_dev_run  # which says whether it runs, and keeps no score
        if command != "fit" and start is None and not config.untrained and not trial:
            raise ValueError(
                f"{command} without --ckpt_path: the network would be an untrained one. Give a checkpoint, a shipped "
                "name or a folder as --ckpt_path, or weights to start from as --model.init_from; --untrained true "
                "measures the untrained network"
            )

    def _dump(self, config: Any, command: str) -> dict[str, Any]:
        return yaml.safe_load(self.parser.dump(config, skip_none=False, skip_validation=True))[command]

    def _experiment_folder(self, config: Any) -> Path:
        return Path(config.trainer.default_root_dir or RUNS) / (config.experiment or self._experiment(config))

    @staticmethod
    def _experiment(config: Any) -> str:
        paths = [Path(str(path)) for path in config.get("config") or [] if str(path).endswith("ml")]
        if paths := [path for path in paths if not is_addon(path)]:
            return paths[-1].stem
        given = config.get("ckpt_path") or ""
        checkpoint = Path("" if given == "last" else given)  # which is looked for among the runs of this experiment
        if checkpoint.parent.name == "checkpoints":  # runs/<experiment>/<time>/checkpoints/last.ckpt
            return experiment_of(checkpoint.parents[1], config.trainer.default_root_dir)
        if checkpoint.name and not checkpoint.suffix:  # a folder, a shipped name, a repository of the Hub
            return checkpoint.name
        model, data = (config[key].class_path.rpartition(".")[2] for key in ("model", "data"))
        return f"{model}-{data.removesuffix('DataModule')}".lower()


def _note(text: str) -> None:
    rank_zero_note(f"note: {text}")
