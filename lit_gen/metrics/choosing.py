"""Which extractor scores look through: by name, or the one shipped for the data; and which others would fit."""

import json
import shlex
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_info
from safetensors import SafetensorError, safe_open

from lit_gen.metrics.classifiers import SHIPPED, load_extractor
from lit_gen.metrics.extractors import Extractor, IdentityExtractor, Pixels
from lit_gen.metrics.fast_extractor import FastExtractor
from lit_gen.metrics.inception_fid import InceptionFID, find_weights
from lit_gen.metrics.inception_network import SPATIAL
from lit_gen.metrics.published import is_published, published_extractor

# The extractors of the Fréchet inception distance by their names; "-bf16" after one runs it faster, for monitoring.
INCEPTION: dict[str, Any] = {
    "inception": {},
    "inception-clean": {"resize": "clean"},
    "inception-random": {"weights": "random"},
    "inception-spatial": {"num_features": SPATIAL},
}


def choose_extractor(extractor: str, data: Any) -> Extractor | None:
    """The extractor for a data module, or None if it is to be found (``auto``) and none is shipped.

    Raises:
        ValueError: an unknown name, or an extractor for images of another shape.
        FileNotFoundError: no such file.
    """
    shape = tuple(data.image_shape)
    if extractor == "identity" or (extractor == "auto" and len(shape) == 1):
        return IdentityExtractor(shape)
    if extractor == "pixels":
        return Pixels(shape)
    if (published := extractor.removesuffix("-bf16")) in INCEPTION:
        network: Extractor = InceptionFID(shape, **INCEPTION[published])
        return FastExtractor(network, "float32" if published == extractor else "bfloat16")
    if is_published(extractor):
        return published_extractor(extractor, shape)
    if extractor != "auto":
        network = load_extractor(extractor)
        if network.image_shape != shape:
            raise ValueError(
                f"extractor={extractor!r}: made for image_shape={network.image_shape}, but the data have {shape}"
            )
        return network
    if (shipped := shipped_for(data.name, shape)) is not None:
        return shipped
    rank_zero_info(
        f"Evaluate: no extractor is shipped for {data.name!r} with image_shape={shape}, so samples are not scored. "
        f"One that takes them: `--evaluate.extractor {shlex.quote(proposal(shape))}`. {training_command(data)}"
    )
    return None


def shipped_for(name: str, image_shape: tuple[int, ...]) -> Extractor | None:
    """The shipped extractor of a data set's name, if it takes images of this shape."""
    network = load_extractor(name) if name in SHIPPED else None
    return network if network is not None and network.image_shape == tuple(image_shape) else None


def fitting(image_shape: tuple[int, ...], folder: str | Path = ".") -> list[str]:
    """Names and files of the extractors that take images ``(C, H, W)``, the most fitting first.

    Those that `lit-gen extractor` has written into the folder, of which the newest comes first; shipped ones of that
    shape; Inception, if its weights are there; and pixels.
    """
    shape = tuple(image_shape)
    files = sorted(Path(folder).glob("*.safetensors"), key=lambda file: (-file.stat().st_mtime, file.name))
    own = [str(file) for file in files if _shape_of(file) == shape]
    shipped = [name for name in SHIPPED if shipped_for(name, shape) is not None]
    return own + shipped + ["inception"] * (shape[0] in (1, 3) and _inception_is_there()) + ["pixels"]


def proposal(image_shape: tuple[int, ...]) -> str:
    """The extractor to take where none is named."""
    return fitting(image_shape)[0] if len(image_shape) == 3 else "identity"


def training_command(data: Any) -> str:
    """A sentence with the command that trains an extractor of a data module's images."""
    kind = type(data)
    word = getattr(data, "command_word", kind.__name__)
    if not kind.__module__.startswith("datamodules.") or not word:
        return "Or train one of its images in Python: lit_gen.metrics.train_extractor."
    place = next((getattr(data, name) for name in ("root", "path") if hasattr(data, name)), None)
    words = ["lit-gen", "extractor", word, *(["--root", str(place)] if place is not None else [])]
    scaled = hasattr(data, "reading") and len(data.image_shape) == 3  # images of any size, brought to one
    if place is not None and scaled:
        words += ["--size", str(data.image_shape[1])] + ["--channels", "1"] * (data.image_shape[0] == 1)
    return f"Or train one: `{shlex.join([*words, '--out', f'own_{data.name}.safetensors'])}`."


def _shape_of(file: Path) -> tuple[int, ...] | None:
    """The image shape in an extractor's header; None for other files."""
    try:
        with safe_open(file, framework="pt") as content:
            described = json.loads((content.metadata() or {})["extractor"])
        return tuple(described["image_shape"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def _inception_is_there() -> bool:
    try:
        find_weights(None)
    except FileNotFoundError:
        return False
    return True
