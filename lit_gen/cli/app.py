"""The command ``lit-gen``: fit, validate, test and predict any model on any data, from options or YAML."""

import contextlib
import importlib
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

import datamodules
from lit_gen.callbacks import (
    AtomicCheckpointIO,
    Evaluate,
    EvaluateTranslation,
    FaultPolicy,
    PredictionWriter,
    RunCheckpoint,
    RunProgress,
    RunRecord,
    SampleGrid,
    ScoreHistograms,
    Speed,
    TranslationGrid,
)
from lit_gen.cli.errors import framework_errors, shorten, users_error
from lit_gen.cli.run_config import RunConfig
from lit_gen.cli.support import (
    RUNS,
    check_packages,
    differences,
    resolve_configs,
    resolve_last,
    restrict_imports,
)
from lit_gen.files import remove_leftovers
from lit_gen.modules import GAN, CycleGAN, GenerativeModule
from lit_gen.pretrained.shipped import configs_folder, is_addon
from lit_gen.pretrained.stored import checkpoint_config
from lit_gen.running import quieten
from lit_gen.tracking.loggers import WandbRun, require_tensorboard

COMMANDS = ("fit", "validate", "test", "predict")
OWN_COMMANDS = (
    "sample",
    "encode",
    "evaluate",
    "export",
    "list",
    "doctor",
    "check",
)  # modules of lit_gen.cli.commands, without a Trainer


class Parser(LightningArgumentParser):
    """Reports a wrong key, class or value in a few words, with the accepted choices."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Print one line and exit with status 2."""
        accepted = [action.dest for action in self._actions if not action.dest.endswith(("help", "config"))]
        sys.exit(_report(shorten(message, accepted)))


class CLI(LightningCLI):
    """LightningCLI with this project's callbacks, run folders and rules for checkpoints."""

    def __init__(self, args: ArgsType) -> None:
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
            seed_everything_default=0,
            args=args,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Read options and files."""
        with framework_errors():
            super().parse_arguments(parser, args)

    def instantiate_classes(self) -> None:
        """Build trainer, model and data."""
        with framework_errors():
            super().instantiate_classes()

    def setup_parser(self, add_subcommands: bool, main_kwargs: Any, subparser_kwargs: Any) -> None:
        """Name the commands that Lightning doesn't know."""
        text = "Train and measure generative models. Further commands, each with its own --help: "
        description = {"prog": "lit-gen", "description": text + ", ".join(OWN_COMMANDS)}
        super().setup_parser(add_subcommands, {**main_kwargs, **description}, subparser_kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks that every run has, each configurable under its own name."""
        parser.add_argument(
            "--experiment",
            type=str | None,
            default=None,
            help="The run's folder is <trainer.default_root_dir>/<experiment>/<time>. By default the name of the last "
            "--config, else of model and data.",
        )
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(SampleGrid, "samples")
        parser.add_lightning_class_args(Evaluate, "evaluate")
        parser.add_lightning_class_args(Speed, "speed")
        parser.add_lightning_class_args(FaultPolicy, "faults")
        for name in ("image_shape", "num_classes"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Let the checkpoint say what the model is, and announce every option that it overrides."""
        config = self.config[self.config.subcommand]
        if config.get("ckpt_path") == "last":
            config.ckpt_path = resolve_last(self._experiment_folder(config), self.config.subcommand)
            if config.ckpt_path is not None:
                given = self.parser.dump(self.config, skip_validation=True)
                check_packages(checkpoint_config(config.ckpt_path), config.ckpt_path, given)
        stored = checkpoint_config(config.get("ckpt_path"))
        self._first_step = stored.pop("global_step", 0)
        self._stored_shape = stored.pop("image_shape", None)
        tracked = stored.pop("wandb", None)
        self._tracked = tracked if self.config.subcommand == "fit" else None
        if "model" not in stored:
            return
        given = self._dump_model()
        if given["class_path"] != stored["model"]["class_path"]:
            raise ValueError(
                f"model={given['class_path']}: the checkpoint {config.ckpt_path} holds a "
                f"{stored['model']['class_path']}; leave --model out to take it"
            )
        self.config = self.parser.parse_object({self.config.subcommand: {"model": stored["model"]}}, self.config)
        for line in differences("model", given["init_args"], self._dump_model()["init_args"]):
            print(f"lit-gen: note: {line}, from the checkpoint", file=sys.stderr)

    def _dump_model(self) -> dict[str, Any]:
        return yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.config.subcommand]["model"]

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder: nothing is written elsewhere."""
        config = self.config[self.subcommand]
        config.experiment = config.experiment or self._experiment(config)
        time = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        parent = self._experiment_folder(config)
        if self.subcommand == "fit":
            rank_zero_only(remove_leftovers)(parent, "*/checkpoints")
        names = (time if i == 1 else f"{time}.{i}" for i in itertools.count(1))
        self.run_folder = next(parent / name for name in names if not (parent / name).exists())
        self._new_folders = [folder for folder in self.run_folder.parents if not folder.exists()]
        loggers = config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if "TensorBoard" in getattr(logger, "class_path", ""):
                require_tensorboard()
            arguments = getattr(logger, "init_args", {})
            if "save_dir" in arguments and arguments["save_dir"] in (None, "."):
                arguments["save_dir"] = str(self.run_folder)
            if "id" in arguments and arguments["id"] is None:  # a resumed run is the same one
                arguments["id"] = self._tracked

    def _experiment_folder(self, config: Any) -> Path:
        return Path(config.trainer.default_root_dir or RUNS) / (config.experiment or self._experiment(config))

    @staticmethod
    def _experiment(config: Any) -> str:
        paths = [Path(str(path)) for path in config.get("config") or [] if str(path).endswith("ml")]
        if paths := [path for path in paths if not is_addon(path)]:
            return paths[-1].stem
        checkpoint = Path(config.get("ckpt_path") or "")
        if checkpoint.parent.name == "checkpoints":  # runs/<experiment>/<time>/checkpoints/last.ckpt
            return checkpoint.absolute().parents[2].name
        model, data = (config[key].class_path.rpartition(".")[2] for key in ("model", "data"))
        return f"{model}-{data.removesuffix('DataModule')}".lower()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the progress bar, metrics.csv and whole-or-absent checkpoints."""
        trainer = self.config_init[self.subcommand].trainer
        given = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
        if trainer.logger is not False:
            csv = CSVLogger(self.run_folder, name="", version="")
            kwargs["logger"] = [csv, *(logger for logger in given if logger not in (None, True))]
        plugins = trainer.plugins if isinstance(trainer.plugins, list) else [trainer.plugins]
        kwargs["plugins"] = [*filter(None, plugins), AtomicCheckpointIO()]
        kwargs["default_root_dir"] = self.run_folder
        own: list[Any] = [PredictionWriter()]
        if trainer.enable_progress_bar is not False:
            own.append(RunProgress())
        callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks]
        callbacks = [*filter(None, callbacks)]
        kinds: list[Any] = [RunRecord, ScoreHistograms] if isinstance(self.model, (GAN, CycleGAN)) else [RunRecord]
        kinds += [EvaluateTranslation, TranslationGrid] if hasattr(self.model, "translate") else []
        own += [kind() for kind in kinds if not any(isinstance(callback, kind) for callback in callbacks)]
        kwargs["callbacks"] = [*callbacks, *own]
        return super().instantiate_trainer(**kwargs)

    def after_instantiate_classes(self) -> None:
        """Refuse data that the model can't take, before anything runs."""
        data = list(self.datamodule.image_shape)
        if self._stored_shape not in (None, data):
            raise ValueError(f"data.image_shape={data}: the checkpoint's model was made for {self._stored_shape}")

    def _run_subcommand(self, subcommand: str) -> None:
        """Run, and leave no folder behind that holds nothing but a failed start."""
        try:
            super()._run_subcommand(subcommand)
        except BaseException:
            self._finish_loggers(failed=True)
            useful = self.trainer.global_step > self._first_step or (self.run_folder / "predictions").exists()
            if self.trainer.is_global_zero and not useful:
                shutil.rmtree(self.run_folder, ignore_errors=True)
                with contextlib.suppress(OSError):  # one that holds another run stays
                    for folder in self._new_folders:
                        folder.rmdir()
            raise
        self._finish_loggers()
        if self.trainer.is_global_zero and self.run_folder.exists():
            print(f"lit-gen: results in {self.run_folder}")

    def _finish_loggers(self, failed: bool = False) -> None:
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbRun):
                logger.finish(failed)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        arguments["weights_only"] = True
        if subcommand == "predict":
            arguments["return_predictions"] = False  # they go to files
        return arguments


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; errors of the user are one line and exit status 2."""
    quieten()
    restrict_imports()
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        if arguments and arguments[0] in OWN_COMMANDS:
            importlib.import_module(f"lit_gen.cli.commands.{arguments[0]}").run(arguments[1:])
        else:
            CLI(resolve_configs(arguments, COMMANDS))
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as stop:
        if isinstance(stop, SIGTERMException):  # outside of training, where there is nothing to save
            sys.exit(128 + signal.SIGTERM)
        # Lightning ends an interrupted run with status 1.
        sys.exit(130 if isinstance(stop.__context__, KeyboardInterrupt) else stop.code)
    except Exception as error:
        message = users_error(error)
        if message is None or os.environ.get("LIT_GEN_TRACEBACK"):
            raise
        sys.exit(_report(message))


def _report(message: str) -> int:
    sys.stderr.write(f"lit-gen: error: {' '.join(message.split())}\n")
    return 2


if __name__ == "__main__":
    main()
