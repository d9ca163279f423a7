"""Samples of ``lit-gen predict`` as files."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
from torch import Tensor

from lit_gen.callbacks.grid import image_grid
from lit_gen.callbacks.publish import save_png


class PredictionWriter(L.Callback):
    """Writes every predicted image to ``predictions/000123.png`` in the run's folder, points to ``.npy`` files.

    A data module with ``prediction_names`` names the files in their place, and may put them into folders.
    """

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Number the files by position in the global order, so that processes never collide."""
        fast: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
        if trainer.log_dir is None or fast or not isinstance(outputs, Tensor):
            return
        folder = Path(trainer.log_dir) / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        names: list[str] | None = getattr(datamodule, "prediction_names", None)
        first = batch_idx * datamodule.batch_size
        for i, sample in enumerate(outputs.float().cpu()):
            position = first + i * trainer.world_size + trainer.global_rank
            name = f"{position:06d}" if names is None else names[position]
            if sample.dim() == 3:
                save_png(folder / f"{name}.png", image_grid(sample[None], cell=1))
            else:
                np.save(folder / f"{name}.npy", sample.numpy())
