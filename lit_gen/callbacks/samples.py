"""Pictures of the model's samples, from the same noise throughout training."""

import math
import time
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lit_gen.callbacks.nth_validation import NthValidationCallback
from lit_gen.callbacks.publish import publish
from lit_gen.class_grid import class_caption, class_grid
from lit_gen.pictures import image_grid
from lit_gen.training.randomness import mix

NUM_POINTS = 2500  # samples, and data beside them, in a scatter plot
FIRST_SECONDS = 45.0  # after which a run that has no validation yet shows what it has learned


def scatter(samples: Tensor, data: Tensor) -> Tensor:
    """Sampled points over data points, both ``(N, 2)``, as a uint8 picture ``(3, H, W)``. The data fix the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and no window system is asked for one
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), dpi=100, layout="tight")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    for points, colour, label in ((data, "0.7", "data"), (samples, "tab:blue", "samples")):
        x, y = points.detach().float().cpu().numpy().T
        axes.scatter(x, y, s=4, color=colour, linewidths=0, label=label)
    low, high = data.amin(0).tolist(), data.amax(0).tolist()
    margin = 0.25 * max(b - a for a, b in zip(low, high, strict=True)) or 1.0
    axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin), aspect="equal")
    axes.legend(loc="upper right")
    canvas.draw()
    picture = torch.from_numpy(np.asarray(canvas.buffer_rgba()).copy())
    return picture[..., :3].movedim(-1, 0)


class SampleGrid(NthValidationCallback):
    """Draws samples of the same noise at the start, at every n-th validation and at the end of ``fit``.

    A run whose first validation is far away draws once within its first minute too, if its batches are short.

    A picture goes to ``samples/step_<step>.png`` under the trainer's log directory, and to every logger that takes
    images (W&B, TensorBoard) as ``samples``. Points in the plane are drawn as 2,500 samples over as many data.
    A conditional model's classes are drawn in turn, each in rows of its own, beside its name where they are at most 20.

    Args:
        num_samples: images in the grid.
        every_n_epochs: draw at every n-th validation.
        seed: of the samples' noise.
        every_n_seconds: draw also after the first batch that ends so many seconds after the last picture; null for
            that of the first minute alone.

    Attributes:
        folder: where the pictures go, and their name in the loggers.
    """

    folder = "samples"

    def __init__(
        self, num_samples: int = 64, every_n_epochs: int = 1, seed: int = 0, every_n_seconds: float | None = None
    ) -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples={num_samples}: at least 1 is needed")
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs={every_n_epochs}: at least 1 is needed")
        if every_n_seconds is not None and not every_n_seconds > 0:
            raise ValueError(f"every_n_seconds={every_n_seconds}: more than 0, or null")
        super().__init__(every_n_epochs)
        self.num_samples, self.seed, self.every_n_seconds = num_samples, seed, every_n_seconds
        self._drawn: int | None = None
        self._due = math.inf  # when the clock asks for a picture
        self._directory: str | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say so if there is nothing to look at."""
        self._drawn = None
        if hasattr(pl_module, "sample") and not _drawable(shape := drawn_shape(pl_module)):
            rank_zero_info(f"SampleGrid: image_shape={shape} is neither grey nor colour nor 2-D points: no pictures.")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The untrained (or resumed) model."""
        self._draw(trainer, pl_module)
        self._due = time.monotonic() + min(FIRST_SECONDS, self.every_n_seconds or math.inf)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """When the clock asks for it: the first process alone looks at it, and draws without the others."""
        if time.monotonic() >= self._due:
            self._draw_alone(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Every n-th validation of a fit."""
        if not trainer.sanity_checking and trainer.state.fn == "fit" and self._is_due(trainer):
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The trained model."""
        self._draw(trainer, pl_module)

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._directory = trainer.log_dir  # a collective
        self._draw_alone(trainer, pl_module)

    def _draw_alone(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        step, self._due = trainer.global_step, time.monotonic() + (self.every_n_seconds or math.inf)
        if trainer.fast_dev_run or not trainer.is_global_zero or self._drawn == step:  # type: ignore[attr-defined]
            return
        picture = self.picture(trainer, pl_module)
        if picture is None:
            return
        self._drawn = step
        labels = self._labels(pl_module)
        caption = "" if labels is None else class_caption(labels, pl_module.class_names)  # type: ignore[arg-type]
        publish(trainer, self._directory, self.folder, f"step_{step:06d}", picture, caption)

    def picture(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Tensor | None:
        """The picture now, uint8 ``(C, H, W)``, or None if the model has no samples that can be drawn."""
        shape = drawn_shape(pl_module)
        if not hasattr(pl_module, "sample") or not _drawable(shape):
            return None
        generator, count = torch.Generator().manual_seed(mix(self.seed, "grid")), self.num_samples
        if len(shape) == 1:
            return scatter(pl_module.sample(NUM_POINTS, generator=generator), self._points(trainer))  # type: ignore[operator]
        labels = self._labels(pl_module)
        images = pl_module.sample(count, labels, generator)  # type: ignore[operator]
        return image_grid(images) if labels is None else class_grid(images, labels, pl_module.class_names)  # type: ignore[arg-type]

    def _labels(self, module: Any) -> Tensor | None:
        """The classes of the pictures, in turn; None for an unconditional model."""
        return torch.arange(self.num_samples) % module.num_classes if getattr(module, "conditional", False) else None

    def _points(self, trainer: L.Trainer) -> Tensor:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        dataset = data.dataset("train")
        points, _ = dataset.__getitems__(list(range(min(NUM_POINTS, len(dataset)))))
        return data.to_float(points)


def _drawable(shape: tuple[int, ...]) -> bool:
    return shape == (2,) or (len(shape) == 3 and shape[0] in (1, 3))


def drawn_shape(module: Any) -> tuple[int, ...]:
    """That of a module's samples; of one that knows no codec, of what it models."""
    return tuple(getattr(module, "picture_shape", module.image_shape))
