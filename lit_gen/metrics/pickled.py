"""Statistics that other programs have pickled, as EDM2 does, read without running anything that the file names."""

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from lit_gen.metrics.bank import Features
from lit_gen.metrics.moments import Moments
from lit_gen.metrics.statistics import check_covariance, check_statistics

LARGEST = 2**31  # bytes of a file


class _Type:
    """In place of ``numpy.dtype``: a kind and a size, without objects."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    def real(self) -> np.dtype:
        """The type of floats, whole numbers and truth values.

        Raises:
            ValueError: another.
        """
        if self.name not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise ValueError(f"an array of type {self.name!r}; accepted are numbers")
        order = self.order if self.order in ("<", ">") else "="
        return np.dtype(self.name).newbyteorder(order)  # type: ignore[arg-type]


class _Array:
    """In place of an array: what the file says of one, and its bytes."""

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.array = _made(content, kind, shape, "F" if fortran else "C")


def _made(content: Any, kind: Any, shape: Any, order: str) -> np.ndarray:
    sizes = [int(size) for size in (shape if isinstance(shape, tuple) else (shape,))]
    if (
        not isinstance(kind, _Type)
        or not isinstance(content, (bytes, bytearray, memoryview))
        or min(sizes, default=0) < 0
    ):
        raise ValueError("an array that isn't one of numbers")
    flat = np.frombuffer(content, kind.real())
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.array = _made(content, kind, shape, str(order))
    return made


def _number(kind: Any, content: Any) -> Any:
    return _made(content, kind, (), "C")[()]


def _bytes(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"text in {encoding!r}, where bytes are written as latin1")
    return str(text).encode("latin1")


# What a pickle of arrays names, old and new, and what is called in its place: nothing of numpy's.
STAND_INS: dict[tuple[str, str], Any] = {("numpy", "dtype"): _Type, ("numpy", "ndarray"): _Array}
STAND_INS["_codecs", "encode"] = _bytes  # bytes in old protocols
for _module in ("numpy.core", "numpy._core"):
    STAND_INS[f"{_module}.multiarray", "_reconstruct"] = _Array
    STAND_INS[f"{_module}.multiarray", "scalar"] = _number
    STAND_INS[f"{_module}.numeric", "_frombuffer"] = _from_buffer


class _Reader(pickle.Unpickler):
    """Knows arrays of numbers alone; any other name is refused when it is met, before it is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise ValueError(f"names {module}.{name}, which is no array of numbers; nothing of it was imported")
        return STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise ValueError("refers to what lies outside of it")


def read_pickled(path: str | Path) -> dict[str, Features]:
    """The statistics in a pickle ``{metric: {"mu": (D,), "sigma": (D, D)}}``, with ``num_images`` if it says so.

    This is EDM2's layout (arXiv:2312.02696), whose metrics are ``fid`` and ``fd_dinov2``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a pickle that names anything but arrays of numbers, of which nothing is run; one that is damaged; or
            no such statistics in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of statistics")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes, of at most {LARGEST:,}")
    try:
        content = _Reader(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a damaged pickle fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: no pickle of statistics ({reason})") from None
    parts = content if isinstance(content, dict) else {}
    held = {name: part for name, part in parts.items() if isinstance(part, dict) and {"mu", "sigma"} <= part.keys()}
    if not held:
        raise ValueError(f"{path}: no metric with 'mu' and 'sigma' in it, as EDM2 writes them")
    count = parts.get("num_images", 0)
    count = count if isinstance(count, (int, np.integer)) and count > 0 else 0
    return {str(name): _features(f"{path}: {name}", part, int(count)) for name, part in held.items()}


def _features(path: str, part: dict[str, Any], count: int) -> Features:
    arrays = {name: getattr(part[name], "array", None) for name in ("mu", "sigma")}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path}: {name} is no array")
    mean, covariance = check_statistics(path, arrays)
    check_covariance(path, covariance)
    none = torch.zeros(0, dtype=torch.int64)
    return Features(Moments(mean, covariance, count), mean.new_zeros(0, len(mean)), none, none)
