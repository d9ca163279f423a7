"""Real features on disk: written once, read by every later evaluation, and by other programs."""

import hashlib
import itertools
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_gen.files import user_cache, whole_file
from lit_gen.metrics.bank import Features
from lit_gen.metrics.extractors import Extractor
from lit_gen.metrics.moments import Moments

VERSION = 1
SPOT_CHECKS = 1000  # images that the fingerprint of other data sets than tensors and lists of files is taken from
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError)


@dataclass(frozen=True)
class Protocol:
    """Everything that real features depend on.

    Attributes:
        data: fingerprint of the images.
        split: of the data.
        count: images; 0 for all.
        extractor: fingerprint of the network.
        values: what the stored numbers mean, as in `to_signed`; ``points`` for vectors.
        resize: how images came to their size; ``none`` where they are taken as they are.
        dtype: that the extractor computed in.
        capacity: feature rows kept.
    """

    data: str
    split: str
    count: int
    extractor: str
    values: str = "uint8"
    resize: str = "none"
    dtype: str = "float32"
    capacity: int = 10_000

    @property
    def key(self) -> str:
        """A name for the file, different for any other protocol."""
        return hashlib.sha256(json.dumps([VERSION, asdict(self)]).encode()).hexdigest()[:32]


def fingerprint_data(dataset: Any) -> str:
    """A hash of a data set's images: of all their bytes in memory, of the names, sizes and times of files.

    Of other data sets it is taken from their length and a thousand images, evenly spread.
    """
    digest = hashlib.sha256(str(len(dataset)).encode())
    if isinstance(images := getattr(dataset, "images", None), Tensor):
        _add(digest, images)
    elif callable(stamps := getattr(dataset, "stamps", None)):
        for stamp in stamps():
            digest.update(f"{stamp}\n".encode(errors="surrogateescape"))
    elif len(dataset):
        spread = np.linspace(0, len(dataset) - 1, min(len(dataset), SPOT_CHECKS)).astype(int)
        _add(digest, dataset.__getitems__(spread.tolist())[0])
    labels = getattr(dataset, "labels", None)
    if isinstance(labels, Tensor):
        _add(digest, labels)
    return digest.hexdigest()


def fingerprint_extractor(extractor: Extractor) -> str:
    """A hash of the network's name, shape and weights."""
    shape = [] if extractor.resizes else list(extractor.image_shape)  # whose features are comparable at any size
    described = [type(extractor).__name__, extractor.name, shape, extractor.num_features]
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, weights in itertools.chain(extractor.named_parameters(), extractor.named_buffers()):
        digest.update(name.encode())
        _add(digest, weights)
    return digest.hexdigest()


def _add(digest: Any, tensor: Tensor) -> None:
    tensor = tensor.detach().cpu().contiguous()
    digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy())


def write_statistics(path: str | Path, features: Features, protocol: Protocol | None = None) -> None:
    """Write features as ``.npz``: ``mu`` and ``sigma`` as other programs read them, and what else they were.

    The file appears whole or not at all.
    """
    moments = features.moments
    arrays: dict[str, np.ndarray] = {
        "mu": moments.mean.cpu().numpy(),
        "sigma": moments.covariance.cpu().numpy(),
        "count": np.array(moments.count),
        "rows": features.rows.cpu().numpy(),
        "index": features.index.cpu().numpy(),
        "labels": features.labels.cpu().numpy(),
        "class_names": np.array(features.class_names, dtype=str),
        "protocol": np.array(json.dumps({"version": VERSION, **asdict(protocol)} if protocol else None)),
    }
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_statistics(path: str | Path, protocol: Protocol | None = None, extractor: Extractor | None = None) -> Features:
    """Read features that `write_statistics` wrote, or mean and covariance alone from another program's ``.npz``.

    ``mu`` ``(D,)`` and ``sigma`` ``(D, D)`` is the layout of pytorch-fid and EDM.

    Args:
        path: the file.
        protocol: what the features must be of; None accepts any.
        extractor: what they must be comparable with: as many features, and its own if the file says whose they are.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a truncated or damaged file, one without ``mu`` and ``sigma``, or one of another protocol
            or extractor, or a ``sigma`` that is no covariance: not symmetric, or not positive semi-definite.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file of statistics")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except DAMAGE as error:
        raise ValueError(f"{path}: truncated or damaged, not a readable .npz file ({error})") from None
    except AttributeError:  # a .npy file under another name
        raise ValueError(f"{path}: holds a single array, not 'mu' and 'sigma'") from None
    if missing := {"mu", "sigma"} - arrays.keys():
        held = ", ".join(arrays) or "nothing"
        raise ValueError(f"{path}: no {' and '.join(sorted(missing))}; it holds {held}, not statistics of features")
    mean, covariance = check_statistics(path, arrays)
    stored = _stored_protocol(path, arrays)
    if protocol is not None:
        _check_protocol(path, stored, protocol)
    else:
        check_covariance(path, covariance)
    if extractor is not None:
        _check_extractor(path, stored, len(mean), extractor)
    count = _count(path, arrays)
    if "rows" not in arrays:
        none = torch.zeros(0, dtype=torch.int64)
        return Features(Moments(mean, covariance, count), mean.new_zeros(0, len(mean)), none, none, protocol=stored)
    rows, index, labels = _rows(path, arrays, len(mean))
    few = 0 < len(rows) == count <= len(mean)  # then the rows are the better factor of the covariance
    moments = Moments.of_rows(rows) if few else Moments(mean, covariance, count)
    names = arrays["class_names"].tolist() if "class_names" in arrays else ()
    return Features(moments, rows, index, labels, class_names=names, protocol=stored)


def check_statistics(path: str | Path, arrays: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """``mu`` ``(D,)`` and ``sigma`` ``(D, D)`` of what a file holds, in float64.

    Raises:
        ValueError: other shapes, or what isn't finite.
    """
    mean, covariance = (_float64(path, name, arrays[name]) for name in ("mu", "sigma"))
    if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
        raise ValueError(
            f"{path}: mu {tuple(mean.shape)} and sigma {tuple(covariance.shape)}: expected (D,) and (D, D)"
        )
    return mean, covariance


def _count(path: str | Path, arrays: dict[str, np.ndarray]) -> int:
    """Images that the statistics are of, 0 where that is not said."""
    count = arrays.get("count", np.zeros((), np.int64))
    if count.shape != () or count.dtype.kind not in "iu" or count < 0:
        raise ValueError(f"{path}: count {count.dtype} {count.shape} is no number of images")
    return int(count)


def _stored_protocol(path: str | Path, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    try:
        stored = json.loads(str(arrays["protocol"])) if "protocol" in arrays else None
    except (ValueError, RecursionError):
        stored = ()
    if stored is not None and not (isinstance(stored, dict) and isinstance(stored.get("extractor"), str)):
        raise ValueError(f"{path}: protocol is no description of statistics")
    return stored


def _rows(path: str | Path, arrays: dict[str, np.ndarray], num_features: int) -> tuple[Tensor, Tensor, Tensor]:
    """The features of single images ``(n, D)``, which images they are and their labels, ``(n,)``."""
    shapes = {name: arrays[name].shape if name in arrays else None for name in ("rows", "index", "labels", "count")}
    n = arrays["rows"].shape[0] if arrays["rows"].ndim else -1
    kinds = [arrays[name].dtype.kind for name, shape in shapes.items() if shape is not None]
    if shapes != {"rows": (n, num_features), "index": (n,), "labels": (n,), "count": ()} or kinds != [*"fiii"]:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{path}: {told}: expected the features (n, {num_features}) of n images, (n,), (n,) and ()")
    rows, index, labels = (torch.from_numpy(arrays[name]) for name in ("rows", "index", "labels"))
    return rows, index, labels


def _float64(path: str | Path, name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{path}: {name} {array.dtype} {array.shape} is not an array of finite numbers")
    return torch.from_numpy(array.astype(np.float64))


def check_covariance(path: str | Path, covariance: Tensor) -> None:
    """Refuse what is not symmetric and positive semi-definite to a millionth, for statistics summed up in float32.

    Raises:
        ValueError: naming the file.
    """
    slack = 1e-6 * covariance.diagonal().abs().max()
    apart = (covariance - covariance.T).abs().max()
    if apart > slack:
        raise ValueError(f"{path}: sigma is not symmetric (entries differ by up to {apart:.3g}), so no covariance")
    shifted = covariance + slack * torch.eye(len(covariance), dtype=covariance.dtype)
    if covariance.any() and torch.linalg.cholesky_ex(shifted).info:
        smallest = torch.linalg.eigvalsh(covariance)[0]
        raise ValueError(f"{path}: sigma is no covariance: its smallest eigenvalue is {smallest:.3g}, below 0")


def _check_protocol(path: str | Path, stored: dict[str, Any] | None, protocol: Protocol) -> None:
    if stored is None:
        raise ValueError(f"{path}: foreign statistics, that don't say which images and extractor they are of")
    wanted = {"version": VERSION, **asdict(protocol)}
    if stale := [name for name in wanted if stored.get(name) != wanted[name]]:
        told = ", ".join(f"{name}={stored.get(name)!r} (needed {wanted[name]!r})" for name in stale)
        raise ValueError(f"{path}: stale statistics, of {told}")


def _check_extractor(path: str | Path, stored: dict[str, Any] | None, num_features: int, extractor: Extractor) -> None:
    if num_features != extractor.num_features:
        raise ValueError(
            f"{path}: statistics of {num_features} features; the extractor {extractor.name!r} gives "
            f"{extractor.num_features}"
        )
    if stored is not None and stored.get("extractor") != fingerprint_extractor(extractor):
        raise ValueError(f"{path}: statistics of another extractor than {extractor.name!r}, or of other weights")


def cache_folder(cache: str | None) -> Path | None:
    """Where statistics are kept: the folder named, the user's cache (``auto``; XDG), or nowhere (None)."""
    if cache is None:
        return None
    return user_cache(None, "statistics") if cache == "auto" else Path(cache)


def cached(folder: Path, protocol: Protocol, say: Callable[[str], Any] = print) -> Features | None:
    """The features of this protocol kept in `folder`, or None; of an unfit file it is said why it isn't taken."""
    path = folder / f"{protocol.key}.npz"
    if not path.exists():
        return None
    try:
        return read_statistics(path, protocol)
    except (ValueError, OSError) as error:
        say(f"real statistics are computed again: {error}")
        return None
