"""One way for pictures and histograms to the run's folder and to every logger, whichever it is."""

import csv
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from lit_gen.pictures import channels_last, save_png

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
        path = Path(directory) / "histograms" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "low", "high", "count"])
            rows = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
            writer.writerows([trainer.global_step, *row] for row in rows)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb  # slow, and only for those who track

            histogram: Any = wandb.Histogram(np_histogram=(counts, edges))
            logger.log_metrics({f"histograms/{name}": histogram}, step=trainer.global_step)
            continue
        experiment: Any = getattr(logger, "experiment", None)
        if hasattr(experiment, "add_histogram"):
            experiment.add_histogram(f"histograms/{name}", flat, trainer.global_step)
