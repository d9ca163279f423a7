"""LPIPS as a training loss, of weights that the user has: nothing is downloaded."""

import importlib.util
import pickle
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lit_gen.losses.perceptual import PerceptualLoss
from lit_gen.networks.lpips import BACKBONES, LPIPSNetwork
from lit_gen.precision import at_least_float32, float32_or_better

# torchvision's names, then those of the whole network in lpips and in torchmetrics
BACKBONE_NAME = re.compile(r"(?:features|net\.slice\d|net\.slices\.\d)\.(\d+\..+)")
LINEAR_NAME = re.compile(r"lin(\d)\.model\.\d\.weight")


@dataclass(frozen=True, kw_only=True)
class LPIPS(PerceptualLoss):
    """Learned perceptual distance of images in [-1, 1] (Zhang et al. 2018, arXiv:1801.03924), a mean over images.

    Grey images are repeated to three channels. Computed in float32 or better, the network frozen and no part of the
    model. Sides are at least 16 pixels for ``vgg``, 17 for ``squeeze``, 31 for ``alex``. Fréchet distances in features
    of ImageNet are then no independent judges.

    The files are read when a training begins, tensors alone and never code; a trained model doesn't need them.

    Args:
        weights: File of the backbone's weights as torchvision publishes them: ``vgg16-397923af.pth``,
            ``alexnet-owt-7be5be79.pth`` or ``squeezenet1_1-b8a52dc0.pth``; or of a whole ``lpips.LPIPS``.
        linear: File of the channels' weights, ``vgg.pth`` and so on of the package lpips; null for those in
            ``weights``, else those that the installed torchmetrics brings along.
        net: ``vgg``, as VQGAN and latent diffusion train; ``alex`` or ``squeeze``.

    Raises:
        ValueError: for another net; in ``prepare`` for a file that holds no such weights.
        FileNotFoundError: in ``prepare``, for a file that isn't there.
    """

    weights: str
    linear: str | None = None
    net: Literal["vgg", "alex", "squeeze"] = "vgg"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.net not in BACKBONES:
            raise ValueError(f"net={self.net!r}: LPIPS knows {', '.join(BACKBONES)}")

    def check(self, image_shape: tuple[int, ...], discriminator: nn.Module | None) -> None:
        """Needs grey or colour images that the network's poolings leave something of."""
        smallest = BACKBONES[self.net].smallest
        if image_shape[0] not in (1, 3) or min(image_shape[1:]) < smallest:
            raise ValueError(
                f"perceptual=LPIPS, net={self.net!r}: takes 1 or 3 channels and sides of {smallest} pixels or more, "
                f"the images are {tuple(image_shape)}"
            )

    def prepare(self) -> None:
        """Read the files."""
        _network(self.weights, self.linear, self.net)

    def features(self, images: Tensor, discriminator: nn.Module | None) -> list[Tensor]:
        """Unit activations, float32 or better with autocast off."""
        images = at_least_float32(images)
        return _activations(images, _network(self.weights, self.linear, self.net).to(images.device, images.dtype))

    def distance(self, made: list[Tensor], targets: list[Tensor]) -> Tensor:
        """The mean of d over the images."""
        network = _network(self.weights, self.linear, self.net)
        with torch.autocast(made[0].device.type, enabled=False):
            return network.distances(made, targets).mean()


@float32_or_better
def _activations(images: Tensor, network: LPIPSNetwork) -> list[Tensor]:
    return network(images)


@lru_cache(maxsize=2)
def _network(weights: str, linear: str | None, net: str) -> LPIPSNetwork:
    network, told = LPIPSNetwork(net), f"weights={weights!r}, net={net!r}"
    tensors = _read("weights", weights)
    backbone = {match[1]: value for name, value in tensors.items() if (match := BACKBONE_NAME.fullmatch(name))}
    try:
        network.backbone.load_state_dict(backbone)
    except RuntimeError:
        raise ValueError(f"{told}: no weights of that network as torchvision or lpips names them") from None
    if linear is not None or not _linear_of(tensors):
        linear = linear or _brought_along(net)
        tensors = _read("linear", linear)
    channels, own = _linear_of(tensors), network.linear
    if [value.numel() for value in channels] != [parameter.numel() for parameter in own]:
        raise ValueError(f"linear={linear or weights!r}, net={net!r}: no such weights of that network's channels")
    with torch.no_grad():
        for parameter, value in zip(own, channels, strict=True):
            parameter.copy_(value.flatten())
    return network.eval().requires_grad_(False)


def _read(argument: str, path: str) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file than one of tensors by name.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{argument}={path!r}: no such file of LPIPS's weights; nothing is downloaded")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{argument}={path!r}: no file of tensors by name, as torch.save writes a state dict")
    return content


def _linear_of(tensors: dict[str, Tensor]) -> list[Tensor]:
    """Those of the layers, in their order."""
    found = {int(match[1]): value for name, value in tensors.items() if (match := LINEAR_NAME.fullmatch(name))}
    return [found[layer] for layer in sorted(found)]


def _brought_along(net: str) -> str:
    """torchmetrics' file, found without importing it."""
    package = importlib.util.find_spec("torchmetrics")
    folder = Path(package.origin).parent if package is not None and package.origin else Path()
    return str(folder / "functional" / "image" / "lpips_models" / f"{net}.pth")
