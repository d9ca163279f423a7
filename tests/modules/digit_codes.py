"""Codes without a codec: digits of 4 x 4 pixels and three levels of grey."""

from typing import Any

from torch import Tensor

from datamodules import DigitsDataModule

LEVELS = 3


class DigitCodes(DigitsDataModule):
    """Batches of int64 ``(N, 4, 4)`` from 0 to 2, and labels."""

    holds = "codes"
    image_shape = (4, 4)
    num_codes = LEVELS

    def to_float(self, images: Tensor) -> Tensor:
        return codes_of(images)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return codes_of(batch[0]), batch[1]


def codes_of(images: Tensor) -> Tensor:
    """Of uint8 images ``(N, 1, 8, 8)``."""
    return images[:, 0, ::2, ::2].long() * LEVELS // 256
