"""An extractor made ready for many images."""

import copy
import itertools
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lit_gen.metrics.extractors import Extractor


class FastExtractor(Extractor):
    """A copy of an extractor with batch norm folded into the convolutions before it, in channels-last layout.

    In float32 features are the same but for rounding, and so is the name. In bfloat16, for monitoring, the network
    runs under autocast; features are off by about 1 %, and the name says ``-bf16``.

    Args:
        extractor: what to copy; it stays as it is.
        precision: ``float32`` or ``bfloat16``.

    Raises:
        ValueError: another precision.
    """

    def __init__(self, extractor: Extractor, precision: Literal["float32", "bfloat16"] = "float32") -> None:
        super().__init__()
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision={precision!r}: 'float32' or 'bfloat16'")
        self.precision = precision
        self.name = extractor.name if precision == "float32" else f"{extractor.name}-bf16"
        self.frechet = extractor.frechet if precision == "float32" else "fd"
        self.image_shape, self.num_classes = extractor.image_shape, extractor.num_classes
        self.num_features, self.class_names, self.resizes = (
            extractor.num_features,
            extractor.class_names,
            extractor.resizes,
        )
        self.network = fold_batch_norm(extractor).to(memory_format=torch.channels_last)
        if precision == "bfloat16":  # once, where autocast would convert them for every batch
            for layer in self.network.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.to(torch.bfloat16)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, num_features)``."""
        return self.classify(images)[0]

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and class scores, in float32."""
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            features, logits = self.network.classify(images)
        return features.float(), None if logits is None else logits.float()

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> Any:
        """The copy's weights, which as a part of another module it would keep to itself."""
        if prefix:
            return kwargs["destination"]
        return {f"network.{name}": weights for name, weights in self.network.state_dict().items()}


def fold_batch_norm(extractor: Extractor) -> Extractor:
    """A frozen copy whose convolutions do the work of batch norms that follow them directly in an ``nn.Sequential``."""
    copied = copy.deepcopy(extractor).eval().requires_grad_(False)
    for sequence in [module for module in copied.modules() if isinstance(module, nn.Sequential)]:
        for first, second in itertools.pairwise(list(sequence._modules)):
            convolution, norm = sequence._modules[first], sequence._modules[second]
            if type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d and norm.running_mean is not None:
                sequence._modules[first] = fuse_conv_bn_eval(convolution, norm).requires_grad_(False)
                sequence._modules[second] = nn.Identity()
    return copied
