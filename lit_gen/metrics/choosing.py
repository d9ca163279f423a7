"""Which extractor scores look through: by name, or the one shipped for the data."""

from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_info

from lit_gen.metrics.classifiers import SHIPPED, load_extractor
from lit_gen.metrics.extractors import Extractor, IdentityExtractor, Pixels
from lit_gen.metrics.fast_extractor import FastExtractor
from lit_gen.metrics.inception_fid import InceptionFID

# The extractors of the Fréchet inception distance by their names; "-bf16" after one runs it faster, for monitoring.
INCEPTION: dict[str, Any] = {
    "inception": {},
    "inception-clean": {"resize": "clean"},
    "inception-random": {"weights": "random"},
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
        f"Train one with `python scripts/train_extractor.py --data {type(data).__name__} --out FILE.safetensors` "
        "and pass it as `extractor`."
    )
    return None


def shipped_for(name: str, image_shape: tuple[int, ...]) -> Extractor | None:
    """The shipped extractor of a data set's name, if it takes images of this shape."""
    network = load_extractor(name) if name in SHIPPED else None
    return network if network is not None and network.image_shape == tuple(image_shape) else None


def fitting(image_shape: tuple[int, ...]) -> list[str]:
    """Names of the extractors that take images ``(C, H, W)``: shipped ones of that shape, and those of any."""
    return [name for name in SHIPPED if shipped_for(name, image_shape) is not None] + ["pixels", "inception"]
