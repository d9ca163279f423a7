"""The command ``lit-gen``: fit, validate, test and predict any model on any data, from options or YAML."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse._util import import_object
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

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
from lit_gen.cli.data_words import resolve_data
from lit_gen.cli.errors import framework_errors
from lit_gen.cli.final_validation import FinalValidation
from lit_gen.cli.going_on import GoOn, experiment_of, go_on
from lit_gen.cli.imports import restrict_imports
from lit_gen.cli.mistakes import exit_status, guarded
from lit_gen.cli.parsing import COMMANDS, OWN_COMMANDS, ConfiguredCLI
from lit_gen.cli.peers import Peers, ended_by_sigterm
from lit_gen.cli.run_folder import Agree, End, RunFolder, check_experiment, is_first_process
from lit_gen.cli.support import put_wholes_first, rank_zero_note, resolve_configs
from lit_gen.cli.trainer_options import complete, loggers_of, place_logger, refuse_misplaced, refuse_unlaunched
from lit_gen.cli.words import report, suggest
from lit_gen.files import remove_leftovers
from lit_gen.modules import GAN
from lit_gen.modules.translation import TranslationModule
from lit_gen.pretrained.resume import LAST
from lit_gen.quiet import quieten
from lit_gen.tracking.loggers import WandbRun, require_tensorboard
from lit_gen.tracking.metrics_file import MetricsFile


class CLI(ConfiguredCLI):
    """One run, in a folder of its own."""

    def before_instantiate_classes(self) -> None:
        """Refuse what can't run."""
        config = self.config[self.subcommand]
        complete(config.trainer)
        refuse_unlaunched(config.trainer)
        model = import_object(config.model.class_path)
        refuse_misplaced(config.trainer, model)
        self._require_step(model)
        self._asked_for = config.experiment and check_experiment(config.experiment)
        config.experiment = self._asked_for or check_experiment(self._experiment(config))
        for logger in loggers_of(config.trainer):
            if "TensorBoard" in logger.class_path:
                require_tensorboard()
        if self.source is not None:
            self.source.check()
            self._require_steps_left(config.trainer.max_steps)

    def _require_steps_left(self, max_steps: int) -> None:
        """Refuse to train up to a step that lies behind; to one that has been reached there is nothing to do."""
        assert self.source is not None
        trained = self.source.stored.get("global_step", 0)  # weights alone have none
        if self.subcommand == "fit" and 0 <= max_steps < trained:
            raise ValueError(
                f"trainer.max_steps={max_steps}: {self.source.path} has been trained for {trained} steps already; "
                "max_steps counts all of them, so give more"
            )

    def _require_step(self, model: type) -> None:
        """Refuse to measure a model that says nothing of a split's batches."""
        name = {"validate": "validation_step", "test": "test_step"}.get(str(self.subcommand))
        if name is not None and getattr(model, name, None) is getattr(LightningModule, name):
            hint = "; `test_step = validation_step` takes what validation measures" if name == "test_step" else ""
            raise ValueError(f"model={model.__module__}.{model.__name__}: {self.subcommand} needs its {name}{hint}")

    def instantiate_classes(self) -> None:
        """Take the run's folder and build data, model and trainer; what can't be built leaves no folder."""
        config = self.config[self.subcommand]
        parent = self._experiment_folder(config)
        if self.subcommand == "fit":
            rank_zero_only(remove_leftovers)(parent, "*/checkpoints")
        self.folder = RunFolder.of_this_process(parent, str(self.subcommand), self._own_folder(config))
        try:
            with framework_errors():
                self._build()
        except BaseException:
            self.folder.remove()
            self.folder.forget()
            raise

    def _own_folder(self, config: Any) -> RunFolder | None:
        """That of the run which goes on, if it does so there; asked for in the first process."""
        if self.source is None or self.subcommand != "fit" or not is_first_process() or config.trainer.fast_dev_run:
            return None
        if config.new_folder:
            rank_zero_note("--new_folder true: the run goes on in a new folder")
            return None
        root = config.trainer.default_root_dir
        folder = go_on(self.source, root, self._asked_for, changes=self.changes)
        if folder is not None:
            config.experiment = experiment_of(folder.path, root)
        return folder

    def _build(self) -> None:
        step = self.source.stored["global_step"] if self.source is not None and self.folder.cut_short else None
        placed = self.config.clone()  # the saved configuration names neither this run's folder nor its id
        for logger in loggers_of(placed[self.subcommand].trainer):
            place_logger(logger, self.folder.path, self._tracked, step)
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
            kwargs["logger"] = [
                MetricsFile(self.folder.path),
                *(logger for logger in given if logger not in (None, True)),
            ]
        plugins = trainer.plugins if isinstance(trainer.plugins, list) else [trainer.plugins]
        kwargs["plugins"] = [*filter(None, plugins), AtomicCheckpointIO()]
        kwargs["default_root_dir"] = self.folder.path
        own: list[Any] = [PredictionWriter(), FinalValidation(), *self.further_callbacks()]
        if trainer.enable_progress_bar is not False:
            own.append(RunProgress())
        callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks]
        callbacks = [*filter(None, callbacks)]
        kinds: list[Any] = [RunRecord]
        kinds += [ScoreHistograms] if isinstance(self.model, (GAN, TranslationModule)) else []
        kinds += [EvaluateTranslation, TranslationGrid] if hasattr(self.model, "translate") else []
        kinds += [EvaluateReconstruction, ReconstructionGrid] if hasattr(self.model, "reconstruct") else []
        own += [kind() for kind in kinds if not any(isinstance(callback, kind) for callback in callbacks)]
        first: list[Any] = [Agree(self.folder)]
        if self.source is not None and self.subcommand == "fit":
            first.append(GoOn(self.folder))
            own.append(ChangedOptimizers(self._plain["model"], self._dump(self.config, "fit")["model"]))
        kwargs["callbacks"] = [*first, *callbacks, *own]
        return super().instantiate_trainer(**kwargs)

    def further_callbacks(self) -> list[Any]:
        """Callbacks that a kind of run has besides, and that are no part of its configuration."""
        return []

    def _run_subcommand(self, subcommand: str) -> None:
        """Run, and leave no folder behind that holds nothing but a failed start."""
        peers, status, of_another = Peers(self._close, self._how_to_go_on), 0, None
        self._facts: dict[str, str] = {}
        peers.watch(self.trainer)
        with ended_by_sigterm(self.trainer):
            try:
                super()._run_subcommand(subcommand)
            except BaseException as error:
                status = exit_status(error)
                of_another = peers.settle(error, status)
                if of_another is None:
                    if isinstance(error, Exception):
                        self._facts["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
                    raise
            finally:
                try:
                    self._close(status if of_another is None else of_another)
                    if self.config[subcommand].get("report") and self.trainer.is_global_zero:
                        from lit_gen.cli.commands.report import report_on  # of use to few runs

                        report_on(self.folder.path)
                finally:
                    peers.end()
        if of_another is not None:
            sys.exit(of_another)
        if self.trainer.is_global_zero and self.folder.path.exists():
            print(f"lit-gen: results in {self.folder.path}")

    def _close(self, status: int) -> None:
        """Finish the trackers and mark the folder."""
        end: End = "finished" if status == 0 else "stopped" if status > 128 else "failed"
        first_step = 0 if self.source is None else self.source.stored.get("global_step", 0)
        self._finish_loggers(end)
        begun = self.trainer.global_step > first_step or (self.folder.path / "predictions").exists()
        if self.trainer.is_global_zero:
            self.folder.close(end, self.trainer.global_step, keep=begun or end == "finished", **self._facts)
        self.folder.forget()

    def _how_to_go_on(self) -> str:
        last = self.folder.path / "checkpoints" / LAST
        return f"go on with --ckpt_path {last}" if last.exists() else "there is no checkpoint yet"

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


def main(args: Sequence[str] | None = None, cli: type[CLI] = CLI) -> None:
    """Run the command line; errors of the user are one line and exit status 2.

    Args:
        args: All words but the program's name.
        cli: What a command with a Trainer is run by.
    """
    quieten(first=not getattr(rank_zero_only, "rank", 0))
    restrict_imports()
    arguments = list(sys.argv[1:] if args is None else args)
    guarded(lambda: _run(arguments, cli))


def _run(arguments: list[str], cli: type[CLI]) -> None:
    if arguments and arguments[0] in OWN_COMMANDS:
        importlib.import_module(f"lit_gen.cli.commands.{arguments[0]}").run(arguments[1:])
    elif arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        told = suggest(arguments[0], (*COMMANDS, *OWN_COMMANDS))
        sys.exit(report(f"unknown command {arguments[0]}; {told}"))
    else:
        cli(put_wholes_first(resolve_data(resolve_configs(arguments))))


if __name__ == "__main__":
    main()
