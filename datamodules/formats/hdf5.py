"""HDF5 files, of which a batch reads its rows alone."""

import os
import weakref
from functools import partial
from typing import Any

import numpy as np

from datamodules.formats.containers import Container, Member
from datamodules.of_process import OfProcess

CACHE = 256 * 2**20  # bytes of unpacked chunks that each process keeps: rows near each other unpack a chunk once
SLOTS = 10_007  # places for chunks in it, a prime
OF_MATLAB = ("#refs#", "#subsystem#")  # groups in which MATLAB keeps the insides of cells and objects
_opened: "weakref.WeakSet[HDF5]" = weakref.WeakSet()


class HDF5(Container):
    """An HDF5 file. Arrays in groups are named ``group/array``; links out of the file are not followed.

    Every process opens the file for itself. HDF5 hands one handle to all who open a file in a process, which a forked
    worker would inherit in whatever state it is; so all are closed before a fork and opened again when they are needed.

    Args:
        path: the file.

    Raises:
        ValueError: h5py isn't there.
    """

    by_rows = True

    def __init__(self, path: str):
        super().__init__(path)
        self._handles: OfProcess[_Handles] = OfProcess(partial(_Handles, path))
        try:
            import h5py  # noqa: F401
        except ImportError:
            raise ValueError(f"{path}: needs the package h5py: pip install 'lit-gen[hdf5]'") from None

    def headers(self) -> dict[str, Member]:
        """All arrays, from their headers."""
        import h5py

        members: dict[str, Member] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.shape is not None and not name.startswith(OF_MATLAB):
                words = h5py.check_string_dtype(item.dtype) is not None
                members[name] = Member(name, item.shape, np.dtype(np.str_) if words else item.dtype)

        self.handles().file.visititems(visit)
        return members

    def array(self, member: Member) -> np.ndarray:
        """One array."""
        dataset = self.dataset(member.key)
        if member.dtype.kind == "U":
            return np.asarray(dataset.asstr()[()]).astype(np.str_)
        return dataset[()]

    def rows(self, member: Member, axis: int, indices: np.ndarray) -> np.ndarray:
        """Some rows of an array; neighbours in one piece, which is faster than h5py's own way with a list."""
        dataset, before = self.dataset(member.key), (slice(None),) * axis
        runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
        slices = [slice(int(run[0]), int(run[-1]) + 1) if len(run) else slice(0) for run in runs]
        return np.concatenate([dataset[before + (some,)] for some in slices], axis)  # noqa: RUF005

    def rows_of_chunk(self, member: Member, axis: int) -> int:
        """Number of rows that are stored, and unpacked, in one piece."""
        chunks = self.dataset(member.key).chunks
        return 1 if chunks is None else int(chunks[axis])

    def handles(self) -> "_Handles":
        """What is open in this process."""
        _opened.add(self)
        return self._handles.value

    def dataset(self, key: str) -> Any:
        """An array's handle in this process. It is kept, since the unpacked chunks are lost with it."""
        handles = self.handles()
        if key not in handles.datasets:
            handles.datasets[key] = handles.file[key]
        return handles.datasets[key]

    def close(self) -> None:
        """Closes the file, which the next reading opens again."""
        if (handles := self._handles.drop()) is not None:
            handles.file.close()


class _Handles:
    """The file, opened, and the handles of its arrays."""

    def __init__(self, path: str):
        import h5py

        self.file: Any = h5py.File(path, "r", rdcc_nbytes=CACHE, rdcc_nslots=SLOTS, locking="best-effort")
        self.datasets: dict[str, Any] = {}


def _close_all() -> None:
    for container in list(_opened):
        container.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_all)
