"""The network of LPIPS: three of ImageNet's classifiers as torchvision numbers their layers, and a weight a channel."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EPS = 1e-8  # under the root of a length, which then has a gradient at 0
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet's channels in [-1, 1]


class Fire(nn.Module):
    """SqueezeNet's module (Iandola et al. 2016, arXiv:1602.07360): to few maps, and from these to many by two sizes."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, h, w)`` to ``(N, 2 * expanded, h, w)``."""
        few = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(few), self.expand3x3(few)], 1).relu()


def vgg16() -> nn.Sequential:
    """The convolutions of VGG-16 (Simonyan and Zisserman 2015, arXiv:1409.1556), without the last pooling."""
    layers: list[nn.Module] = []
    channels = 3
    for number, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        layers += [nn.MaxPool2d(2)] if number else []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


def alexnet() -> nn.Sequential:
    """The convolutions of AlexNet (Krizhevsky 2014, arXiv:1404.5997), without the last pooling."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def squeezenet() -> nn.Sequential:
    """SqueezeNet 1.1 up to its last fire module."""

    def halved() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU()),
        *(halved(), Fire(64, 16, 64), Fire(128, 16, 64)),
        *(halved(), Fire(128, 32, 128), Fire(256, 32, 128)),
        *(halved(), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
    )


@dataclass(frozen=True)
class Backbone:
    """One of the three: its layers, those whose outputs are compared, their channels, and its smallest images' side."""

    make: Callable[[], nn.Sequential]
    taps: tuple[int, ...]
    channels: tuple[int, ...]
    smallest: int


BACKBONES = {
    "vgg": Backbone(vgg16, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16),
    "alex": Backbone(alexnet, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 31),
    "squeeze": Backbone(squeezenet, (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512), 17),
}


class LPIPSNetwork(nn.Module):
    """Learned perceptual image patch similarity (Zhang et al. 2018, arXiv:1801.03924, equation 1):

        d(x, y) = Σ_l mean over positions of Σ_c w_lc (x̂_lc − ŷ_lc)²

    of the activations x̂ of layer l, at each position divided by their length over the channels.

    Args:
        net: ``vgg``, ``alex`` or ``squeeze``.

    Attributes:
        backbone: The layers, numbered as torchvision's ``features``.
        linear: w of each layer that is compared, ``(channels,)``.

    Raises:
        ValueError: for another net.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str = "vgg") -> None:
        super().__init__()
        if net not in BACKBONES:
            raise ValueError(f"net={net!r}: one of {', '.join(BACKBONES)}")
        self.kind = BACKBONES[net]
        self.backbone = self.kind.make()
        self.linear = nn.ParameterList([nn.Parameter(torch.ones(count)) for count in self.kind.channels])
        for name, values in {"shift": SHIFT, "scale": SCALE}.items():
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Unit activations ``(N, channels, h, w)`` of each layer, of images ``(N, 1 or 3, H, W)`` in [-1, 1]."""
        x, found = (images.expand(-1, 3, -1, -1) - self.shift) / self.scale, []
        for number, layer in enumerate(self.backbone):
            x = layer(x)
            if number in self.kind.taps:
                found.append(x / (x.square().sum(1, keepdim=True) + EPS).sqrt())
        return found

    def distances(self, made: list[Tensor], targets: list[Tensor]) -> Tensor:
        """d of each image, ``(N,)``, of the activations that ``forward`` gives."""
        layers = zip(made, targets, self.linear, strict=True)
        return sum(((x - y).square().mean((2, 3)) @ weights for x, y, weights in layers), torch.zeros(()).to(made[0]))
