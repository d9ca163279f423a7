"""Models of images by latent variables, as modules that train."""

from abc import ABC
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lit_gen import models
from lit_gen.models.class_names import check_names, numbered
from lit_gen.modules.base import Batch, GenerativeModule
from lit_gen.pretrained.names import stored_class_names
from lit_gen.pretrained.stored import locate
from lit_gen.training.player import Player


class LatentVariableModel(models.LatentVariableModel, GenerativeModule, ABC):
    """A :class:`lit_gen.models.LatentVariableModel` that trains."""

    def define(self, players: list[Player], averaged: list[str], init_from: str | None = None) -> None:
        """Take the names of the classes, too, with the weights of a model of as many."""
        super().define(players, averaged, init_from)
        if init_from is not None and self.conditional:
            names = stored_class_names(locate(init_from))
            self._class_names = names if len(names) == self.num_classes else ()

    def setup(self, stage: str) -> None:
        """Compare the classes with the data's, and take their names to train on them.

        Raises:
            ValueError: the data have more classes than a conditional model, or number a class otherwise.
        """
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        names = tuple(getattr(data, "class_names", ())) if self.conditional else ()
        if len(names) > self.num_classes:
            raise ValueError(f"num_classes={self.num_classes}: the data have {len(names)} classes")
        if len(names) == self.num_classes and self.conditional:
            self._meet(self._class_names, names, "the model's weights", keep=stage != "fit")

    def _meet(self, known: Sequence[str], names: Sequence[str], model: str, keep: bool) -> None:
        """Go on with the names of the data, or with the model's own where it is only measured."""
        if warning := check_names(known, names, model, "the data"):
            rank_zero_warn(warning)
        mere = numbered(self.num_classes)
        first, second = (known, names) if keep else (names, known)
        self.class_names = first if first and (tuple(first) != mere or not second) else second or mere

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the names of the classes."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["lit_gen"]["class_names"] = list(self.class_names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare the classes with those of the data at hand.

        Raises:
            ValueError: the data number a class otherwise.
        """
        super().on_load_checkpoint(checkpoint)
        known = checkpoint.get("lit_gen", {}).get("class_names")
        if self.conditional and isinstance(known, (list, tuple)) and len(known) == self.num_classes:
            fitting = self._trainer is not None and self._trainer.state.fn == "fit"
            self._meet(known, self._class_names, "the checkpoint", keep=not fitting)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """As many samples as the batch has images, of its classes, the same on any number of processes."""
        noise = self.random.normal(len(batch[0]), self.noise_dim)
        return self.pictures(self.from_noise(noise.to(self.device, self.dtype), *self.labels_of(batch)))
