"""The codec that goes with a model of latents or codes: read beside data, checkpoints and saved models, and written."""

import shutil
from pathlib import Path
from typing import Any

from lit_gen.encoded import CODEC, CODEC_FILES, Encoded
from lit_gen.files import read_json
from lit_gen.models import GenerativeModel
from lit_gen.models.autoencoding import AutoencodingModel
from lit_gen.models.codec import Codec
from lit_gen.pretrained.building import from_folder
from lit_gen.pretrained.stored import CARD, CONFIG, checkpoint_config

KEY = "codec"  # of a description or a checkpoint


def read_codec(encoded: Encoded) -> Codec:
    """The codec that encoded the images, from its folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it has changed since, is no autoencoder, or not one of such latents.
    """
    encoded.check_codec()
    model = from_folder(Path(encoded.folder), (), trains=False)
    if not isinstance(model, AutoencodingModel):
        raise ValueError(f"{encoded.folder}: a {type(model).__name__}, and a codec is an autoencoder")
    return Codec(model, encoded)


def take_codec(module: GenerativeModel, path: Path) -> None:
    """Give a model the codec that is kept in its folder, or that its checkpoint names.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it has changed since.
    """
    folder = path.is_dir()
    described: Any = read_json(path / CONFIG).get(KEY) if folder else checkpoint_config(path, option="")[KEY]
    if described is not None:
        module.codec = read_codec(Encoded.of(described, str(path), path / CODEC if folder else None))


def write_codec(codec: Codec, folder: Path) -> None:
    """Copy a codec's files into a new folder.

    Raises:
        FileNotFoundError: they are gone.
        ValueError: they have changed since they were read.
    """
    codec.encoded.check_codec()
    folder.mkdir()
    for name in (*CODEC_FILES, CARD):
        if (file := Path(codec.encoded.folder, name)).is_file():
            shutil.copyfile(file, folder / name)
