"""The extractor of the Fréchet inception distance: published weights, by hash, and the way an image takes to them."""

import hashlib
import os
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_gen.metrics.extractors import Extractor
from lit_gen.metrics.inception_network import SPATIAL, InceptionNetwork

SIZE = 299
BATCH = 16
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
FILES = (FILE, "weights-inception-2015-12-05-6726825d.pth")  # torch-fidelity's name of the same file

Resize = Literal["tf1", "clean"]


class InceptionFID(Extractor):
    """Features of the TF-ported Inception network (Heusel et al. 2017, arXiv:1706.08500).

    An image's way: [-1, 1] is rounded to the 256 values of a file, grey is repeated to three channels, the image is
    resized to 299×299 in float32 by one of two protocols, and (v − 128)/128 goes in.

    - ``tf1``: bilinear between nearest pixels, without antialiasing or half-pixel centres, as TensorFlow 1 did; what
      published distances mean.
    - ``clean``: Pillow's antialiased bicubic filter in float (Parmar et al. 2021, arXiv:2104.11222).

    The name says it all: ``inception`` is tf1 and 2048 features; else ``inception-clean``, ``inception-768`` and so on,
    ``inception-spatial`` for the 2023 whose distance is called sfid (Nash et al. 2021, arXiv:2103.03841), and
    ``inception-random`` has random weights, whose distances are called fd and not fid. Class scores are the 1008
    logits without bias, as the Inception score takes them.

    Args:
        image_shape: ``(1, H, W)`` or ``(3, H, W)``.
        weights: the published file; None finds it in torch's download cache; ``random`` for weights from a fixed seed.
        resize: the protocol.
        num_features: 64, 192, 768 or 2048; 2023 for the spatial ones.

    Raises:
        ValueError: another shape, protocol or number, or a file that isn't the published one.
        FileNotFoundError: no such file. Nothing is downloaded, and no other network takes its place.
    """

    num_classes = 1008
    resizes = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        weights: str | None = None,
        resize: Resize = "tf1",
        num_features: Literal[64, 192, 768, 2023, 2048] = 2048,
    ) -> None:
        super().__init__()
        if len(image_shape) != 3 or image_shape[0] not in (1, 3):
            raise ValueError(f"image_shape={tuple(image_shape)}: InceptionFID needs (1, H, W) or (3, H, W)")
        if resize not in get_args(Resize):
            raise ValueError(f"resize={resize!r}: 'tf1' or 'clean'")
        if num_features not in (64, 192, 768, SPATIAL, 2048):
            raise ValueError(f"num_features={num_features}: 64, 192, 768 or 2048, or {SPATIAL} (spatial)")
        self.image_shape, self.resize, self.num_features = tuple(image_shape), resize, num_features
        kind = ["inception", "random" * (weights == "random"), resize * (resize != "tf1")]
        layer = {2048: "", SPATIAL: "spatial"}.get(num_features, str(num_features))
        self.name = "-".join(part for part in (*kind, layer) if part)
        if weights != "random":
            self.frechet = {2048: "fid", SPATIAL: "sfid"}.get(num_features, "fd")
        self.network = InceptionNetwork()
        if weights == "random":
            draw_weights(self.network)
        else:
            self.network.load_state_dict(read_weights(find_weights(weights)))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(N, num_features)``."""
        return self.classify(images)[0]

    def classify(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and the 1008 logits without bias.

        A few images at a time: each takes 20 MB on its way, and what fits the processor's caches goes faster.
        """
        features, logits = zip(*(self._classify(part) for part in images.split(BATCH)), strict=True)
        return torch.cat(features), torch.cat(logits)

    def _classify(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = ((images + 1) * 127.5).round().clamp(0, 255).expand(-1, 3, -1, -1)
        resized = resize_tf1(values) if self.resize == "tf1" else resize_clean(values)
        return self.network((resized - 128) / 128, self.num_features)


def resize_tf1(images: Tensor, size: int = SIZE) -> Tensor:
    """TensorFlow 1's ``resize_bilinear``: output pixel i lies at i·H/size, between the pixels below and above."""
    return _weights(images.shape[2], size, images) @ (images @ _weights(images.shape[3], size, images).T)


def _weights(length: int, size: int, like: Tensor) -> Tensor:
    """How much each of ``length`` pixels counts in each of ``size``, ``(size, length)``: two products cost less than
    gathering the neighbours of every pixel."""
    at = torch.arange(size, device=like.device, dtype=like.dtype) * (length / size)
    low = at.long()
    weights = F.one_hot(low, length) * (1 - (at - low))[:, None]
    return weights + F.one_hot((low + 1).clamp(max=length - 1), length) * (at - low)[:, None]


def resize_clean(images: Tensor, size: int = SIZE) -> Tensor:
    """Pillow's bicubic filter, widened where it shrinks, in float; values stay within 0 and 255."""
    resized = F.interpolate(images, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 255)


def find_weights(weights: str | None) -> Path:
    """The given file, or the published one in torch's download cache, under either of its names.

    Raises:
        FileNotFoundError: saying where to get the file and where to put it.
    """
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    places = [Path(os.path.expanduser(weights))] if weights is not None else [cache / file for file in FILES]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"weights={weights!r}: the Inception weights {FILE} (96 MB) are not at {' or '.join(map(str, places))}; "
        f"download {URL} into {cache}, or pass the file as weights"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The published weights.

    Raises:
        ValueError: another file.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"weights={str(path)!r}: not the published Inception weights (sha256 {digest}, published {SHA256}); "
            f"download {URL} again"
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def draw_weights(network: InceptionNetwork) -> None:
    """He's weights (arXiv:1502.01852) from a fixed seed, which keep the features' scale from layer to layer."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
