"""What produced a run, written where it will be looked for: the whole configuration and the code's version."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

from lit_gen.cli.source import options_of
from lit_gen.pretrained.stored import OPTIONS
from lit_gen.tracking.code_version import code_version


class RunConfig(SaveConfigCallback):
    """Saves ``config.yaml`` with the code's version in its first line, and hands both to every logger that takes them.

    W&B gets them as the run's configuration, TensorBoard as texts.
    """

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the run's options, with which it goes on."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False, skip_validation=True))
        checkpoint[OPTIONS] = options_of(config)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """On the first process, once a run."""
        version = code_version()
        text = self.parser.dump(self.config, skip_none=False)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams({**yaml.safe_load(text), "code": version})
                continue
            experiment: Any = getattr(logger, "experiment", None)
            if hasattr(experiment, "add_text"):
                experiment.add_text("config", f"```yaml\n{text}\n```")
                experiment.add_text("code", json.dumps(version))
        if trainer.loggers:
            path = Path(str(trainer.loggers[0].log_dir)) / self.config_filename
            told = ", ".join(f"{key} {value}" for key, value in version.items())
            path.write_text(f"# {told}\n{path.read_text()}")
