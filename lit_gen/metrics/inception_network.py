"""The Inception network of the Fréchet inception distance, as ported from TensorFlow's 2015-12-05 release."""

from collections import OrderedDict
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SPATIAL = 17 * 17 * 7  # features, of seven channels at every place


class InceptionNetwork(nn.Module):
    """Inception v3 (Szegedy et al. 2015, arXiv:1512.00567) with the 2015 release's differences from torchvision's.

    Average pools leave the padding out of the average, the last block pools by the maximum, and there are 1008
    classes and no auxiliary classifier. Parameters are named as in torchvision, and so as in the published file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = convolution(80, 192, 3)
        self.Mixed_5b = _BlockA(192, pool_features=32)
        self.Mixed_5c = _BlockA(256, pool_features=64)
        self.Mixed_5d = _BlockA(288, pool_features=64)
        self.Mixed_6a = _BlockB(288)
        self.Mixed_6b = _BlockC(128)
        self.Mixed_6c = _BlockC(160)
        self.Mixed_6d = _BlockC(160)
        self.Mixed_6e = _BlockC(192)
        self.Mixed_7a = _BlockD()
        self.Mixed_7b = _BlockE(1280, pool="average")
        self.Mixed_7c = _BlockE(2048, pool="max")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor, num_features: int = 2048) -> tuple[Tensor, Tensor]:
        """Features and class scores of images ``(N, 3, 299, 299)``, about in [-1, 1].

        Args:
            x: the images.
            num_features: 64 and 192 for the averages over the image after the first and second max pool, 768 for those
                before the auxiliary classifier's place, 2048 for the last, those of the Fréchet inception distance;
                2023 for the first 7 channels of 17×17 that the fourth of the middle blocks (``mixed_6/conv``) begins
                with, in TensorFlow's order (rows, columns, channels): the spatial ones (arXiv:2103.03841).

        Returns:
            The features ``(N, num_features)``, and 1008 logits ``(N, 1008)`` without the bias, as the Inception score
            takes them (Salimans et al., arXiv:1606.03498).
        """
        stages = {
            64: [self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3, halve],
            192: [self.Conv2d_3b_1x1, self.Conv2d_4a_3x3, halve],
            768: [getattr(self, f"Mixed_{name}") for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e")],
            2048: [self.Mixed_7a, self.Mixed_7b, self.Mixed_7c],
        }
        features = x
        for width, stage in stages.items():
            for layer in stage:
                if num_features == SPATIAL and layer is self.Mixed_6d:
                    features = layer.branch1x1(x)[:, :7].permute(0, 2, 3, 1).flatten(1)
                    features = features.to(torch.promote_types(x.dtype, torch.float32))
                x = layer(x)
            if width == num_features:
                features = _averages(x)
        last = features if num_features == 2048 else _averages(x)
        return features, F.linear(last, self.fc.weight)


def halve(x: Tensor) -> Tensor:
    """3×3 maxima at stride 2 of what is not negative.

    In bfloat16 on a CPU, of rows and then of columns, and by the bits, which are ordered as the numbers: four times as
    fast as PyTorch's pool.
    """
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or not x.is_contiguous(memory_format=torch.channels_last):
        return F.max_pool2d(x, 3, stride=2)
    bits = x.view(torch.int16)
    rows = torch.maximum(bits[..., :-2:2, :], bits[..., 1:-1:2, :])
    torch.maximum(rows, bits[..., 2::2, :], out=rows)
    maxima = torch.maximum(rows[..., :-2:2], rows[..., 1:-1:2])
    return torch.maximum(maxima, rows[..., 2::2], out=maxima).view(torch.bfloat16)


def _averages(x: Tensor) -> Tensor:
    """Averages over the image ``(N, C)``, in float32 whatever the network computes in."""
    return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))


def convolution(
    channels: int, width: int, kernel: int | tuple[int, int], after: nn.Module | None = None, **options: Any
) -> nn.Sequential:
    """Convolution, batch norm, the linear layer ``after`` if any, ReLU."""
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(channels, width, kernel, bias=False, **options),
        "bn": nn.BatchNorm2d(width, eps=0.001),
        "after": after or nn.Identity(),
        "relu": nn.ReLU(inplace=True),
    }
    return nn.Sequential(OrderedDict(layers))


def _row(channels: int, width: int, size: int) -> nn.Sequential:
    """A 1×size convolution that keeps the image's size."""
    return convolution(channels, width, (1, size), padding=(0, size // 2))


def _column(channels: int, width: int, size: int) -> nn.Sequential:
    """A size×1 convolution that keeps the image's size."""
    return convolution(channels, width, (size, 1), padding=(size // 2, 0))


def _averaged(channels: int, width: int) -> nn.Sequential:
    """A 1×1 convolution of 3×3 averages of what lies within the image.

    The average is taken of the convolution's output, which has fewer channels: it is linear, acts on each channel
    alone and keeps constants, so that it may change places with the convolution and the batch norm.
    """
    return convolution(channels, width, 1, after=nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False))


class _BlockA(nn.Module):
    """35×35: branches of 1×1, 5×5 and twice 3×3."""

    def __init__(self, channels: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = convolution(channels, 64, 1)
        self.branch5x5_1 = convolution(channels, 48, 1)
        self.branch5x5_2 = convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = convolution(channels, 64, 1)
        self.branch3x3dbl_2 = convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = convolution(96, 96, 3, padding=1)
        self.branch_pool = _averaged(channels, pool_features)

    def forward(self, x: Tensor) -> Tensor:
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3 = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), branch5x5, branch3x3, self.branch_pool(x)], 1)


class _BlockB(nn.Module):
    """35×35 to 17×17."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = convolution(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = convolution(channels, 64, 1)
        self.branch3x3dbl_2 = convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), branch3x3dbl, halve(x)], 1)


class _BlockC(nn.Module):
    """17×17: branches of 1×1, one 7×7 and two 7×7, each 7×7 as a row and a column."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = convolution(768, 192, 1)
        self.branch7x7_1 = convolution(768, width, 1)
        self.branch7x7_2 = _row(width, width, 7)
        self.branch7x7_3 = _column(width, 192, 7)
        self.branch7x7dbl_1 = convolution(768, width, 1)
        self.branch7x7dbl_2 = _column(width, width, 7)
        self.branch7x7dbl_3 = _row(width, width, 7)
        self.branch7x7dbl_4 = _column(width, width, 7)
        self.branch7x7dbl_5 = _row(width, 192, 7)
        self.branch_pool = _averaged(768, 192)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(x)], 1)


class _BlockD(nn.Module):
    """17×17 to 8×8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = convolution(768, 192, 1)
        self.branch3x3_2 = convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = convolution(768, 192, 1)
        self.branch7x7x3_2 = _row(192, 192, 7)
        self.branch7x7x3_3 = _column(192, 192, 7)
        self.branch7x7x3_4 = convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        branch7x7 = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        branches = [self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(branch7x7)]
        return torch.cat([*branches, halve(x)], 1)


class _BlockE(nn.Module):
    """8×8: branches of 1×1 and of 3×3 convolutions that fork into a row and a column."""

    def __init__(self, channels: int, pool: Literal["average", "max"]) -> None:
        super().__init__()
        self.branch1x1 = convolution(channels, 320, 1)
        self.branch3x3_1 = convolution(channels, 384, 1)
        self.branch3x3_2a = _row(384, 384, 3)
        self.branch3x3_2b = _column(384, 384, 3)
        self.branch3x3dbl_1 = convolution(channels, 448, 1)
        self.branch3x3dbl_2 = convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _row(384, 384, 3)
        self.branch3x3dbl_3b = _column(384, 384, 3)
        self.branch_pool = _averaged(channels, 192) if pool == "average" else convolution(channels, 192, 1)
        self.pool = nn.Identity() if pool == "average" else nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch3x3_1(x)
        two = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        forks = [self.branch3x3_2a(one), self.branch3x3_2b(one), self.branch3x3dbl_3a(two), self.branch3x3dbl_3b(two)]
        return torch.cat([self.branch1x1(x), *forks, self.branch_pool(self.pool(x))], 1)
