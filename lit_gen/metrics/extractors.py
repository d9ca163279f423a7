"""Networks whose features scores are computed on: shipped, or trained by ``scripts/train_extractor.py``."""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"

# sha256 of the shipped files: a score means nothing when the weights behind its name may change.
SHIPPED = {
    "digits": "5ebffa316006582a08f12dd0aa763072e20939af04cfe2501abb1f38af414423",
    "mnist": "975312520ef75dec68032eb018e7cab7613a0a5f240ad50127f039d0da9c9b19",
}


class Extractor(nn.Module, ABC):
    """A fixed map from images to feature vectors.

    An extractor is a measuring instrument: it is kept outside every LightningModule, so that no checkpoint,
    optimizer or weight average holds it, and is read by `extract`.
    """

    name: str
    image_shape: tuple[int, ...]
    num_features: int
    num_classes: int | None = None

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, num_features)`` of images ``(N, *image_shape)`` in [-1, 1]."""

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and class scores ``(N, num_classes)``; the scores are None where there are no classes."""
        return self(images), None

    @torch.no_grad()
    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """`classify` as scores need it: float32 whatever the images' type, autocast off, eval mode, no gradient.

        Raises:
            ValueError: images of another shape than the extractor was made for (they are never resized in silence).
        """
        if tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"images of shape {tuple(images.shape)}: extractor {self.name!r} takes (N, *{self.image_shape})"
            )
        self.eval()
        with torch.autocast(images.device.type, enabled=False):
            return self.classify(images.float())


class IdentityExtractor(Extractor):
    """The data themselves as features: for points ``(N, D)``, and for small images flattened."""

    name = "identity"

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.num_features = math.prod(image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """The images as rows."""
        return images.flatten(1)


class SmallCNN(Extractor):
    """A classifier of small images; its features are the ReLU layer under the class scores.

    Two stages of two 3×3 convolutions with batch norm and a 2×2 max pool, averaged to 2×2 cells, one hidden layer.
    Height and width are at least 4. ``metadata`` describes a network that was read from a file.
    """

    metadata: dict[str, Any]

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        num_features: int = 64,
        width: int = 24,
        name: str = "small_cnn",
    ) -> None:
        super().__init__()
        if len(image_shape) != 3 or min(image_shape[1:]) < 4:
            raise ValueError(f"image_shape={image_shape}: SmallCNN needs (C, H, W) with height and width of at least 4")
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}: SmallCNN needs at least 2 classes")
        self.name, self.image_shape, self.num_classes = name, tuple(image_shape), num_classes
        self.num_features, self.width = num_features, width
        self.features = nn.Sequential(
            *_convolution(image_shape[0], width),
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
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, num_features)``, not negative."""
        return self.features(images)

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and class scores ``(N, num_classes)``."""
        features = self(images)
        return features, self.head(features)


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def save_extractor(network: SmallCNN, path: str | Path, **facts: Any) -> str:
    """Write a network and what is known of it (``data``, ``recipe``, ``test_accuracy``, …) as one safetensors file.

    Returns:
        The file's sha256.
    """
    description = {
        "name": network.name,
        "image_shape": network.image_shape,
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "width": network.width,
        **facts,
    }
    # One entry: the order of several is not defined in the format's writer, and would change the hash.
    content = save(network.state_dict(), metadata={"extractor": json.dumps(description)})
    Path(path).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_extractor(name_or_path: str | Path) -> SmallCNN:
    """A shipped extractor by name, or one made by ``scripts/train_extractor.py`` by its path (``*.safetensors``).

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


def _read(path: Path) -> SmallCNN:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["extractor"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        network = SmallCNN(
            tuple(metadata["image_shape"]),
            metadata["num_classes"],
            metadata["num_features"],
            metadata["width"],
            metadata["name"],
        )
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is not an extractor written by scripts/train_extractor.py: {error}") from error
    network.load_state_dict(weights)
    network.metadata = metadata
    return network.eval().requires_grad_(False)
