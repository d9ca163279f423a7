"""What encoded images say of themselves: the codec that made them, its identity, and the scale of latents.

The words of ``latents.json`` in a folder of ``lit-gen encode``, and of what checkpoints and saved models keep of it.
Imports no torch.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from lit_gen.files import read_json

FORMAT = 1  # of such a folder
DESCRIPTION, CODEC = "latents.json", "codec"  # a file, and the folder of the codec, in it or in a model's
CODEC_FILES = ("config.json", "model.safetensors")  # of `save_pretrained`, which make the codec
LATENTS, CODES, FLIPPED, LABELS, IMAGES = "latents.npy", "codes.npy", "flipped.npy", "labels.npy", "images.npy"

Kind = Literal["latents", "codes"]


@dataclass(frozen=True)
class Encoded:
    """What a model of latents or codes has to know of them, as plain values.

    Args:
        kind: ``latents``, real numbers, or ``codes``, whole ones.
        folder: Of the codec, as ``save_pretrained`` writes it.
        source: What the codec was called when it encoded.
        class_path: Of its class.
        sha256: Its :func:`identity`.
        shape: Of an image's latents ``(C, h, w)``, or of its codes ``(h, w)``.
        image_shape: ``(C, H, W)`` of what it decodes them to.
        mean: Of each channel of the latents, which a model is trained on as (z - mean) / std; empty for codes.
        std: Of each channel.
        codes: How many there are; 0 for latents.
    """

    kind: Kind
    folder: str
    source: str
    class_path: str
    sha256: str
    shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    codes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def of(cls, described: Any, where: str, folder: str | Path | None = None) -> "Encoded":
        """What a file says.

        Args:
            described: The values of :meth:`as_dict`; more are left aside.
            where: The file, for errors.
            folder: Of the codec, in the place of the one that the file names.

        Raises:
            ValueError: for values that are missing or of another kind.
        """
        names = {field.name for field in fields(cls)}
        try:
            given: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in dict(described).items() if k in names
            }
            if folder is not None:
                given["folder"] = str(folder)
            found = cls(**given)
            sound = found._is_sound()
        except (TypeError, ValueError, AttributeError, IndexError):
            sound = False
        if not sound:
            raise ValueError(f"{where}: not the description of latents or codes")
        return found

    def _is_sound(self) -> bool:
        """Whether the values are of the kinds that they have to be."""
        channels = self.shape[0] if self.kind == "latents" else 0
        return (
            self.kind in ("latents", "codes")
            and (len(self.shape), len(self.image_shape)) == (3 if channels else 2, 3)
            and all(isinstance(n, int) and n > 0 for n in (*self.shape, *self.image_shape))
            and len(self.mean) == len(self.std) == channels
            and all(isinstance(x, float) for x in (*self.mean, *self.std))
            and all(0 < x < math.inf for x in self.std)
            and (self.codes > 1) == (self.kind == "codes")
            and all(isinstance(text, str) for text in (self.folder, self.source, self.class_path, self.sha256))
        )

    def at(self, folder: str | Path) -> "Encoded":
        """The same with the codec in another folder."""
        return replace(self, folder=str(folder))

    def check_codec(self) -> None:
        """See that the codec is there, and is the one that encoded the images.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is another one, or can't be read.
        """
        if identity(self.folder) != self.sha256:
            raise ValueError(
                f"{self.folder}: the codec has changed since it encoded the images (sha256 {self.sha256[:12]} then); "
                "put it back, or encode again"
            )

    def check_same(self, other: "Encoded", ours: str, theirs: str) -> None:
        """See that what one has learned are the latents or codes of the other.

        Raises:
            ValueError: naming the first difference.
        """
        for name in ("kind", "shape", "codes", "sha256", "mean", "std"):
            mine, given = getattr(self, name), getattr(other, name)
            if mine != given:
                what = "codec" if name == "sha256" else name
                raise ValueError(
                    f"{theirs} holds other {self.kind} than {ours} was trained on: {what}={_short(given)}, not "
                    f"{_short(mine)}"
                )


def identity(folder: str | Path) -> str:
    """SHA-256 over a codec's class, its arguments and its weights; what else its folder says doesn't count.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a description that can't be read.
    """
    config, weights = (Path(folder, name) for name in CODEC_FILES)
    for path in (config, weights):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing; latents are of no use without the codec that made them")
    described: Mapping[str, Any] = read_json(config)
    if not {"class_path", "init_args"} <= described.keys():
        raise ValueError(f"{config}: not the description of a codec")
    digest = hashlib.sha256(json.dumps([described["class_path"], described["init_args"]], sort_keys=True).encode())
    with open(weights, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else f"{value}"
