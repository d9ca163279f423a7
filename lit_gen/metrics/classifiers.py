"""Small networks that have learned one data set, as extractors: shipped, or trained by ``lit-gen extractor``."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lit_gen.files import whole_file
from lit_gen.metrics.extractors import Extractor

WEIGHTS = Path(__file__).resolve().parents[1] / "pretrained" / "weights"

SHIPPED = {
    "digits": "5ebffa316006582a08f12dd0aa763072e20939af04cfe2501abb1f38af414423",
    "mnist": "975312520ef75dec68032eb018e7cab7613a0a5f240ad50127f039d0da9c9b19",
    "cifar10": "b75222b4bc64d23c2f69235b1436f3d98fc48a022e48a361302ca97d80f4051a",
}
"""SHA-256 of the shipped files: a score means nothing when the weights behind its name may change."""


DIGITS = tuple("0123456789")
CLASS_NAMES = {
    "digits": DIGITS,
    "mnist": DIGITS,
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # of the shipped files, which don't say them


class DataSetClassifier(Extractor):
    """A classifier of images; its features are the ReLU layer under the class scores.

    Args:
        image_shape: ``(C, H, W)``; height and width of at least `smallest` times the stride.
        num_classes: at least 2; None for features alone, of a network that has learned images without labels.
        num_features: D of the features.
        width: channels of the first convolutions.
        name: what metrics carry.
        stride: of the first convolution, by which it shrinks large images.

    Attributes:
        metadata: what a file says of the network read from it.
    """

    smallest: int
    metadata: dict[str, Any]
    features: nn.Module
    head: nn.Linear | None

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None,
        num_features: int,
        width: int,
        name: str,
        stride: int = 1,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        if stride < 1:
            raise ValueError(f"stride={stride}: {kind} needs at least 1")
        if len(image_shape) != 3 or min(image_shape[1:]) < self.smallest * stride:
            raise ValueError(
                f"image_shape={tuple(image_shape)}: {kind} needs (C, H, W) with height and width of at least "
                f"{self.smallest * stride}"
            )
        if num_classes is not None and num_classes < 2:
            raise ValueError(f"num_classes={num_classes}: {kind} needs at least 2 classes")
        self.name, self.image_shape, self.num_classes = name, tuple(image_shape), num_classes
        self.num_features, self.width, self.stride = num_features, width, stride

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, num_features)``, not negative."""
        return self.features(images)

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and class scores ``(N, num_classes)``, None where it knows no classes."""
        features = self(images)
        return features, None if self.head is None else self.head(features)


class SmallCNN(DataSetClassifier):
    """For drawings: two stages of two 3×3 convolutions with batch norm and a 2×2 max pool, averaged to 2×2 cells.

    One hidden layer follows, which holds the features. Height and width are at least 4.
    """

    smallest = 4

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None,
        num_features: int = 64,
        width: int = 24,
        name: str = "small_cnn",
        stride: int = 1,
    ) -> None:
        super().__init__(image_shape, num_classes, num_features, width, name, stride)
        self.features = nn.Sequential(
            *_convolution(image_shape[0], width, stride),
            *_convolution(width, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, num_features),
            nn.ReLU(),
        )
        self.head = None if num_classes is None else nn.Linear(num_features, num_classes)


class SmallResNet(DataSetClassifier):
    """For photographs: convolutions of w, 2w, 4w channels and of D, with 2×2 max pools between them.

    The second and third are followed by a residual block of two convolutions; all are 3×3 with batch norm and ReLU.
    The features are the averages of the last one's D channels over the image. Height and width are at least 8.
    """

    smallest = 8

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None,
        num_features: int = 96,
        width: int = 24,
        name: str = "small_resnet",
        stride: int = 1,
    ) -> None:
        super().__init__(image_shape, num_classes, num_features, width, name, stride)
        self.features = nn.Sequential(
            *_convolution(image_shape[0], width, stride),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            _Residual(2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
            _Residual(4 * width),
            nn.MaxPool2d(2),
            *_convolution(4 * width, num_features),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = None if num_classes is None else nn.Linear(num_features, num_classes)


class _Residual(nn.Module):
    """x + f(x), f two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _convolution(channels: int, width: int, stride: int = 1) -> list[nn.Module]:
    """3×3; with a stride as wide as twice that and a pixel, so that each pixel counts."""
    size = 3 if stride == 1 else 2 * stride + 1
    convolution = nn.Conv2d(channels, width, size, stride, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU()]


NETWORKS = {network.__name__: network for network in (SmallCNN, SmallResNet)}


def save_extractor(network: DataSetClassifier, path: str | Path, **facts: Any) -> str:
    """Write a network and what is known of it (``data``, ``recipe``, ``test_accuracy``, …) as one safetensors file.

    The file appears whole or not at all.

    Returns:
        The file's sha256.
    """
    description = {
        "name": network.name,
        "image_shape": network.image_shape,
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "width": network.width,
        **({"stride": network.stride} if network.stride > 1 else {}),
        **({"class_names": network.class_names} if network.class_names else {}),
        **facts,
    }
    if not isinstance(network, SmallCNN):  # its files, the first, don't say so, and their hashes stand
        description["network"] = type(network).__name__
    # One entry: the order of several is not defined in the format's writer, and would change the hash.
    content = save(network.state_dict(), metadata={"extractor": json.dumps(description)})
    with whole_file(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def load_extractor(name_or_path: str | Path) -> DataSetClassifier:
    """A shipped extractor by name, or one made by ``lit-gen extractor`` by its path (``*.safetensors``).

    The file's description is in the attribute ``metadata``. The network is in eval mode, float32, without gradients.

    Raises:
        ValueError: a name that is not shipped, a shipped file that is not the one released, a file that is no
            extractor, or one that bears a shipped extractor's name without being it.
        FileNotFoundError: no file at the path.
    """
    name = str(name_or_path)
    if name not in SHIPPED and not name.endswith(".safetensors"):
        raise ValueError(
            f"extractor={name!r}: neither shipped ({', '.join(SHIPPED)} are) nor the path of a .safetensors file"
        )
    path = WEIGHTS / f"{name}.safetensors" if name in SHIPPED else Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"extractor={name!r}: there is no file {path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if SHIPPED.get(name, digest) != digest:
        raise ValueError(
            f"extractor={name!r}: {path} is damaged (sha256 {digest}, released as {SHIPPED[name]}); "
            "install the package again"
        )
    network = _read(path)
    if SHIPPED.get(network.name, digest) != digest:
        raise ValueError(
            f"extractor={name!r}: {path} is named {network.name!r} but is not the shipped extractor of that name; "
            "train it with another --name, or their scores will be mistaken for each other"
        )
    return network


def _read(path: Path) -> DataSetClassifier:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["extractor"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        network = NETWORKS[metadata.get("network", "SmallCNN")](
            tuple(metadata["image_shape"]),
            metadata["num_classes"],
            metadata["num_features"],
            metadata["width"],
            metadata["name"],
            metadata.get("stride", 1),
        )
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not an extractor written by lit-gen extractor: {error}") from error
    network.metadata = metadata
    network.class_names = tuple(metadata.get("class_names", CLASS_NAMES.get(network.name, ())))
    return network.eval().requires_grad_(False)
