"""Samples of ``lit-gen predict`` as files."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
from torch import Tensor

from lit_gen.pictures import JPEG, image_grid, save_picture


class PredictionWriter(L.Callback):
    """Writes every predicted image to ``predictions/000123.png`` in the run's folder, points to ``.npy`` files.

    A data module with ``prediction_names`` names the files in their place, and may put them into folders. Names that
    end in a suffix of JPEG files become such.
    """

    def __init__(self) -> None:
        self._written = 0  # by this process

    def on_predict_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self._written = 0

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
        names: list[str] | None = getattr(trainer.datamodule, "prediction_names", None)  # type: ignore[attr-defined]
        for sample in outputs.float().cpu():
            position = self._written * trainer.world_size + trainer.global_rank
            self._written += 1
            name = f"{position:06d}" if names is None else names[position]
            if sample.dim() == 3:
                file = name if name.lower().endswith((".png", *JPEG)) else f"{name}.png"
                save_picture(folder / file, image_grid(sample[None], cell=1))
            else:
                np.save(folder / f"{name}.npy", sample.numpy())
