"""One way for pictures and histograms to the run's folder and to every logger, whichever it is."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from lit_gen.pictures import channels_last, save_png
from lit_gen.tracking.metrics_file import add_rows

BINS = 32


def publish(
    trainer: L.Trainer, directory: str | None, folder: str, name: str, picture: Tensor, caption: str = ""
) -> None:
    """Write a picture to ``<directory>/<folder>/<name>.png`` and hand it to every logger that takes images."""
    if directory is not None:
        save_png(Path(directory) / folder / f"{name}.png", picture, caption)
    told = {"caption": [caption]} if caption else {}
    for logger in trainer.loggers:
        experiment: Any = getattr(logger, "experiment", None)
        if hasattr(logger, "log_image"):
            logger.log_image(folder, [channels_last(picture)], step=trainer.global_step, **told)
        elif hasattr(experiment, "add_image"):
            experiment.add_image(folder, picture, trainer.global_step)


def publish_histogram(trainer: L.Trainer, directory: str | None, name: str, values: Tensor) -> None:
    """Add a histogram to ``<directory>/histograms/<name>.csv`` and hand it to every logger that takes histograms.

    The file has a line for each of 32 bins: the step, the bin's bounds and how many values lie in it. Values that are
    not finite are left out.
    """
    flat = values.detach().float().flatten().cpu()
    flat = flat[flat.isfinite()]
    if len(flat) == 0:
        return
    counts, edges = np.histogram(flat.double().numpy(), bins=BINS)
    if directory is not None:
        bins = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
        rows = [[trainer.global_step, *values] for values in bins]
        add_rows(Path(directory) / "histograms" / f"{name}.csv", ["step", "low", "high", "count"], rows)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb  # slow, and only for those who track

            histogram: Any = wandb.Histogram(np_histogram=(counts, edges))
            logger.log_metrics({f"histograms/{name}": histogram}, step=trainer.global_step)
            continue
        experiment: Any = getattr(logger, "experiment", None)
        if hasattr(experiment, "add_histogram"):
            experiment.add_histogram(f"histograms/{name}", flat, trainer.global_step)
