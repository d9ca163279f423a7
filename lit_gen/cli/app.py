"""The command ``lit-gen``: fit, validate, test and predict any model on any data, from options or YAML."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse._util import import_object
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_gen.callbacks import (
    AtomicCheckpointIO,
    EvaluateReconstruction,
    EvaluateTranslation,
    PredictionWriter,
    ReconstructionGrid,
    RunProgress,
    RunRecord,
    ScoreHistograms,
    TranslationGrid,
)
from lit_gen.cli.changed_optimizers import ChangedOptimizers
from lit_gen.cli.errors import framework_errors, users_error
from lit_gen.cli.imports import restrict_imports
from lit_gen.cli.parsing import COMMANDS, OWN_COMMANDS, ConfiguredCLI
from lit_gen.cli.run_folder import Agree, End, RunFolder, check_experiment
from lit_gen.cli.support import resolve_configs
from lit_gen.cli.trainer_options import complete, loggers_of, place_logger, refuse_misplaced
from lit_gen.cli.words import report, suggest
from lit_gen.files import remove_leftovers
from lit_gen.modules import GAN, CycleGAN
from lit_gen.running import quieten
from lit_gen.tracking.loggers import WandbRun, require_tensorboard


class CLI(ConfiguredCLI):
    """One run, in a folder of its own."""

    def before_instantiate_classes(self) -> None:
        """Refuse what can't run."""
        config = self.config[self.subcommand]
        complete(config.trainer)
        refuse_misplaced(config.trainer, import_object(config.model.class_path))
        config.experiment = check_experiment(config.experiment or self._experiment(config))
        for logger in loggers_of(config.trainer):
            if "TensorBoard" in logger.class_path:
                require_tensorboard()
        if self.source is not None:
            self.source.check()

    def instantiate_classes(self) -> None:
        """Take the run's folder and build data, model and trainer; what can't be built leaves no folder."""
        config = self.config[self.subcommand]
        parent = self._experiment_folder(config)
        if self.subcommand == "fit":
            rank_zero_only(remove_leftovers)(parent, "*/checkpoints")
        self.folder = RunFolder.of_this_process(parent, str(self.subcommand))
        try:
            with framework_errors():
                self._build()
        except BaseException:
            self.folder.remove()
            self.folder.forget()
            raise

    def _build(self) -> None:
        placed = self.config.clone()  # the saved configuration names neither this run's folder nor its id
        for logger in loggers_of(placed[self.subcommand].trainer):
            place_logger(logger, self.folder.path, self._tracked)
        self.config_init = self.parser.instantiate_classes(placed)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        if self.source is not None:
            shape, data = self.source.stored["image_shape"], list(self.datamodule.image_shape)
            if shape not in (None, data):
                raise ValueError(f"data.image_shape={data}: the checkpoint's model was made for {shape}")
            self.source.fill(self.model, self.changes)
        self.trainer = self.instantiate_trainer()

    @property
    def _tracked(self) -> str | None:
        """The id by which W&B knows the run that goes on."""
        return self.source.stored.get("wandb") if self.source is not None and self.subcommand == "fit" else None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the progress bar, metrics.csv and whole-or-absent checkpoints."""
        trainer = self.config_init[self.subcommand].trainer
        given = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
        if trainer.logger is not False:
            csv = CSVLogger(self.folder.path, name="", version="")
            kwargs["logger"] = [csv, *(logger for logger in given if logger not in (None, True))]
        plugins = trainer.plugins if isinstance(trainer.plugins, list) else [trainer.plugins]
        kwargs["plugins"] = [*filter(None, plugins), AtomicCheckpointIO()]
        kwargs["default_root_dir"] = self.folder.path
        own: list[Any] = [PredictionWriter()]
        if trainer.enable_progress_bar is not False:
            own.append(RunProgress())
        callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks]
        callbacks = [*filter(None, callbacks)]
        kinds: list[Any] = [RunRecord, ScoreHistograms] if isinstance(self.model, (GAN, CycleGAN)) else [RunRecord]
        kinds += [EvaluateTranslation, TranslationGrid] if hasattr(self.model, "translate") else []
        kinds += [EvaluateReconstruction, ReconstructionGrid] if hasattr(self.model, "reconstruct") else []
        own += [kind() for kind in kinds if not any(isinstance(callback, kind) for callback in callbacks)]
        first: list[Any] = [Agree(self.folder)]
        if self.source is not None and self.subcommand == "fit":
            own.append(ChangedOptimizers(self._plain["model"], self._dump(self.config, "fit")["model"]))
        kwargs["callbacks"] = [*first, *callbacks, *own]
        return super().instantiate_trainer(**kwargs)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run, and leave no folder behind that holds nothing but a failed start."""
        first_step = 0 if self.source is None else self.source.stored.get("global_step", 0)
        end: End = "failed"
        try:
            super()._run_subcommand(subcommand)
            end = "finished"
        except (KeyboardInterrupt, SystemExit):
            end = "stopped"
            raise
        finally:
            self._finish_loggers(end)
            begun = self.trainer.global_step > first_step or (self.folder.path / "predictions").exists()
            if self.trainer.is_global_zero:
                self.folder.close(end, self.trainer.global_step, keep=begun or end == "finished")
            self.folder.forget()
        if self.trainer.is_global_zero and self.folder.path.exists():
            print(f"lit-gen: results in {self.folder.path}")

    def _finish_loggers(self, end: End) -> None:
        for logger in self.trainer.loggers:
            if isinstance(logger, WandbRun):
                logger.finish(failed=end != "finished")

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        arguments["weights_only"] = True
        if self.source is not None and self.source.weights_alone:
            arguments["ckpt_path"] = None  # they are loaded
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
        elif arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            told = suggest(arguments[0], (*COMMANDS, *OWN_COMMANDS))
            sys.exit(report(f"unknown command {arguments[0]}; {told}"))
        else:
            CLI(resolve_configs(arguments))
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
        sys.exit(report(message))


if __name__ == "__main__":
    main()
