"""NumPy's .npz and .npy files, read without pickle."""

import zipfile
from typing import IO

import numpy as np

from datamodules.formats.containers import Container, Member

HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Npy(Container):
    """A .npy file, as an archive of one array."""

    def headers(self) -> dict[str, Member]:
        """The array, from its header."""
        with open(self.path, "rb") as file:
            return {"array": _read_header("array", file)}

    def array(self, member: Member) -> np.ndarray:
        """The array."""
        return np.load(self.path, allow_pickle=False)


class Npz(Container):
    """A .npz archive."""

    def headers(self) -> dict[str, Member]:
        """All arrays, from their headers."""
        members = {}
        with zipfile.ZipFile(self.path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    key = name.removesuffix(".npy")
                    members[key] = _read_header(key, file)
        return members

    def array(self, member: Member) -> np.ndarray:
        """One array."""
        with np.load(self.path, allow_pickle=False) as archive:
            return archive[member.key]


def _read_header(key: str, file: IO[bytes]) -> Member:
    shape, _, dtype = HEADER_READERS[np.lib.format.read_magic(file)](file)
    return Member(key, shape, dtype)
