"""What scores of a module's answers to all held-out images have in common."""

from abc import abstractmethod
from typing import Any, ClassVar

import lightning.pytorch as L
from torchmetrics import Metric

from lit_gen.metrics import Extractor, Moments
from lit_gen.metrics.choosing import choose_extractor
from lit_gen.precision import float64_device


class HeldOutScores(L.Callback):
    """Collects scores over the batches of a validation or a test, and logs them as ``val/…`` or ``test/…``.

    A subclass says which metrics there are, feeds them in ``on_validation_batch_end``, which it names
    ``on_test_batch_end`` too, and makes scores of them.

    Args:
        extractor: As ``lit_gen.callbacks.Evaluate`` takes it; null for no Fréchet distance.
    """

    _method: ClassVar[str]  # that the module needs
    _refusal: ClassVar[str]  # of a module without it

    logged: set[str] | None = None  # the scores' names, which only the first validation tells

    def __init__(self, extractor: str | None = "auto") -> None:
        self.extractor = extractor
        self._data: Any = None
        self._network: Extractor | None = None
        self._metrics: dict[str, Metric] = {}

    @abstractmethod
    def _new_metrics(self, trainer: L.Trainer, module: Any) -> dict[str, Metric]:
        """New metrics by name."""

    @abstractmethod
    def _scores(self) -> dict[str, float]:
        """What they come to over the images of all processes; a collective."""

    def _choose(self, extractor: str, data: Any) -> Extractor | None:
        """The network of that name for a data module."""
        return choose_extractor(extractor, data)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the extractor for the data, and refuse an unfit one before training starts.

        Raises:
            ValueError: for a module without the method.
        """
        if not hasattr(pl_module, self._method):
            raise ValueError(f"{type(self).__name__}: {type(pl_module).__name__} {self._refusal}")
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self.extractor is not None and data is not None and data is not self._data and stage != "predict":
            self._data, self._network = data, self._choose(self.extractor, data)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self._metrics = self._new_metrics(trainer, pl_module)
        for metric in self._metrics.values():
            metric.to(float64_device(pl_module.device))

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the scores of all processes' images."""
        if not trainer.sanity_checking:
            self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the scores of all processes' images."""
        self._log(trainer, pl_module, "test")

    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> None:
        for name, score in self._scores().items():
            pl_module.log(f"{split}/{name}", float(score), prog_bar=True, sync_dist=trainer.world_size > 1)

    def _moments(self, name: str) -> Moments:
        metric: Any = self._metrics[name]
        return metric.compute()
