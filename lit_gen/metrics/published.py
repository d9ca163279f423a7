"""Networks that others have published as extractors: torchvision's, by name, and DINOv2's, from local files."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.metrics.dinov2 import VisionTransformer
from lit_gen.metrics.extractors import Extractor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]
SIDE = 224
BATCH = 32  # images on their way through the network at once


class PublishedExtractor(Extractor):
    """A network of 224×224 colour pictures, normalised as ImageNet's.

    An image's way: [-1, 1] is rounded to the 256 values of a file, grey is repeated to three channels, the whole image
    is scaled to the side by the bicubic antialiased filter, without a crop, and ImageNet's mean and deviation are taken
    off: the protocol of dgm-eval and EDM2 (arXiv:2306.04675, arXiv:2312.02696). The name holds network, first eight
    digits of the weights' SHA-256, filter and side, normalisation and layer: other weights, another name.

    Args:
        image_shape: ``(1, H, W)`` or ``(3, H, W)``.
        network: from images ``(N, 3, side, side)`` to features ``(N, num_features)``.
        name: of the network.
        path: of its weights.
        layer: whose output the features are.
        num_features: D.
        head: from features to class scores, if it classifies.
        class_names: of these.
        side: of the images it sees.
    """

    resizes = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        network: nn.Module,
        name: str,
        path: Path,
        layer: str,
        num_features: int,
        head: nn.Linear | None = None,
        class_names: tuple[str, ...] = (),
        side: int = SIDE,
    ) -> None:
        super().__init__()
        if len(image_shape) != 3 or image_shape[0] not in (1, 3):
            raise ValueError(f"image_shape={tuple(image_shape)}: {name} needs (1, H, W) or (3, H, W)")
        digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        self.name = f"{name}-{digits}-bicubic{side}-imagenet-{layer}"
        self.image_shape, self.num_features, self.side = tuple(image_shape), num_features, side
        self.network, self.head = network, head
        self.num_classes = None if head is None else head.out_features
        self.class_names = class_names if len(class_names) == self.num_classes else ()
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, num_features)``."""
        return torch.cat([self.network(self.prepare(part)) for part in images.split(BATCH)])

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and class scores, None where there are no classes."""
        features = self(images)
        return features, None if self.head is None else self.head(features)

    def prepare(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] as the network takes them, ``(N, 3, side, side)``."""
        mean: Any = self.mean
        std: Any = self.std
        values = ((images + 1) * 127.5).round().clamp(0, 255).expand(-1, 3, -1, -1)
        size = (self.side, self.side)
        if values.shape[2:] != size:
            values = F.interpolate(values, size, mode="bicubic", antialias=True, align_corners=False)
        return (values - mean) / std


def published_extractor(name: str, image_shape: tuple[int, ...]) -> PublishedExtractor:
    """The network that ``torchvision:NAME``, ``torchvision:NAME:FILE`` or ``dinov2:FILE`` names.

    Raises:
        ValueError: a network that isn't there or doesn't end in a linear layer, or a file that holds another one.
        FileNotFoundError: no such file. Nothing is downloaded.
    """
    kind, _, rest = name.partition(":")
    if kind == "torchvision" and rest:
        return _torchvision(*rest.partition(":")[::2], image_shape)
    if kind == "dinov2" and rest:
        return _dinov2(Path(rest), image_shape)
    raise ValueError(f"extractor={name!r}: expected torchvision:NAME, torchvision:NAME:FILE or dinov2:FILE")


def is_published(name: str) -> bool:
    """Whether `published_extractor` is to find it."""
    return name.partition(":")[0] in ("torchvision", "dinov2")


def _torchvision(name: str, file: str, image_shape: tuple[int, ...]) -> PublishedExtractor:
    from torchvision import models

    if name not in models.list_models(models):
        raise ValueError(f"extractor='torchvision:{name}': accepted are {', '.join(models.list_models(models))}")
    published = models.get_model_weights(name).DEFAULT
    path = Path(file).expanduser() if file else Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    if not path.is_file():
        hint = "" if file else f"; download {published.url} to it, or give a file by torchvision:{name}:FILE"
        raise FileNotFoundError(f"extractor='torchvision:{name}': there is no file {path}{hint}")
    weights = _weights(path)
    options = {"init_weights": False, "transform_input": True} if name in ("googlenet", "inception_v3") else {}
    network = models.get_model(name, weights=None, **options)
    _load(network, weights, path, f"torchvision's {name}")
    layer, head = _split_head(network, name)
    return PublishedExtractor(
        image_shape,
        network,
        f"torchvision-{name}",
        path,
        f"before_{layer}",
        head.in_features,
        head,
        tuple(published.meta["categories"]),
        published.transforms().crop_size[0],
    )


def _split_head(network: nn.Module, name: str) -> tuple[str, nn.Linear]:
    """Takes the last linear layer off a network, whose input the features are."""
    linear = [path for path, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"extractor='torchvision:{name}': it has no linear layer, before which features are taken")
    parent, _, last = linear[-1].rpartition(".")
    owner = network.get_submodule(parent)
    head = getattr(owner, last)
    setattr(owner, last, nn.Identity())
    return linear[-1].replace(".", "_"), head


def _dinov2(path: Path, image_shape: tuple[int, ...]) -> PublishedExtractor:
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"extractor='dinov2:{path}': there is no such file; nothing is downloaded")
    weights = _weights(path)
    try:
        network = VisionTransformer.of_weights(weights)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: not the weights of a DINOv2 network of the released layout ({error})") from None
    _load(network, weights, path, "a DINOv2 network")
    name = f"dinov2-vit{network.dim}x{len(network.blocks)}"
    return PublishedExtractor(image_shape, network, name, path, "cls", network.dim)


def _weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of one of ``torch.save``, read without running code of its."""
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: no readable file of weights ({reason})") from None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{path}: holds no tensors by name, as a state_dict does")
    return weights


def _load(network: nn.Module, weights: dict[str, Tensor], path: Path, kind: str) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: not the weights of {kind} ({str(error).splitlines()[-1].strip()[:200]})") from None
