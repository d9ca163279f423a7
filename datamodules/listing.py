"""The files below a folder or inside a .zip: images, and everything else by name."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np

from datamodules.decoding import ARRAY, EXTENSIONS, UNREADABLE, is_image
from datamodules.splits import split_named
from datamodules.zip_directory import Names, ZipDirectory
from lit_gen.encoded import CODEC, DESCRIPTION

__all__ = ["Archive", "Listing", "Names", "holds_latents", "list_folder", "no_images"]

HIDDEN = (".", "__MACOSX")  # beginnings of names that are not looked at
_DOT, _MACOSX = (f"/{beginning}" for beginning in HIDDEN)  # of names below a folder, a million times over


@dataclass(frozen=True)
class Listing:
    """Paths ``a/b.png``, relative to where they were found, sorted.

    Args:
        images: files with a suffix of `EXTENSIONS`; where there is none, NumPy's files, of which EDM's sets are.
        others: all other files.
        hidden: files and folders that begin with a dot, and ``__MACOSX`` of archives; not looked into.
        repeated: entries of an archive that a later one of the same name replaces.
    """

    images: Sequence[str]
    others: Names
    hidden: Names
    repeated: Sequence[str] = ()


def list_folder(folder: str, follow_links: bool = False) -> Listing:
    """What is below a folder, at any depth.

    Every folder is listed once and no file is asked for anything but its name. Links to folders inside are passed over,
    since those are read anyway.

    Args:
        folder: where to look.
        follow_links: read what links lead to outside of `folder` too, every such folder once.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a link leads out of it.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"root: there is no folder {folder!r}")
    root, unread, outside = os.path.realpath(folder), [""], set()
    images: list[str] = []
    others: list[str] = []
    hidden: list[str] = []
    while unread:
        below = unread.pop()
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                path = below + entry.name
                if entry.name.startswith(HIDDEN):
                    hidden.append(path)
                    continue
                is_folder, image = entry.is_dir(), is_image(entry.name)
                if (is_folder or image) and entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    inside = os.path.commonpath([root, target]) == root
                    if not inside and not follow_links:
                        raise ValueError(
                            f"{entry.path}: a link that leads out of the folder, to {target}; copy what it leads to, "
                            "or give ImageFolderDataModule follow_links=True"
                        )
                    if is_folder and (inside or target in outside):
                        continue
                    outside.add(target)
                if is_folder:
                    unread.append(f"{path}/")
                else:
                    (images if image else others).append(path)
    return _listing(images, others, hidden)


class Archive:
    """The files of a .zip, by a directory that workers share; each process opens the file for itself.

    A single folder that holds everything, as archives often have, is no part of the names unless it says a split.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged one.
    """

    def __init__(self, path: str):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"root: there is no folder or .zip {path!r}")
        self.path = path
        try:
            self._directory = ZipDirectory(path)
        except UNREADABLE as error:
            raise ValueError(f"root: {path}: not a readable .zip file: {error}") from error
        self._prefix = ""
        tops, loose = set(), False
        for name in self._directory.names:
            if not name.endswith("/") and not _hidden(name):
                top, below, _ = name.partition("/")
                tops.add(top)
                loose = loose or not below
        if len(tops) == 1 and not loose and split_named(top := tops.pop()) is None:
            self._prefix = f"{top}/"

    def listing(self) -> Listing:
        """What is in it."""
        images: list[str] = []
        others: list[str] = []
        hidden: list[str] = []
        repeated: list[str] = []
        last = ""
        for name in self._directory.names:
            if name.endswith("/"):
                continue
            if name == last:  # of two of one name the last counts, as in zipfile
                repeated.append(name.removeprefix(self._prefix))
                continue
            last = name
            if _hidden(name):
                hidden.append(name)
                continue
            name = name.removeprefix(self._prefix)
            (images if is_image(name) else others).append(name)
        return replace(_listing(images, others, hidden), repeated=repeated)

    def open(self, name: str) -> IO[bytes]:
        """A file to read.

        Raises:
            ValueError: it can't be read; names it.
        """
        try:
            return self.open_entry(self._directory.find(self._prefix + name))
        except KeyError as error:
            raise ValueError(f"{self.path}/{name}: can't be read: {error}") from error

    def entries(self, names: Iterable[str]) -> np.ndarray:
        """Where files are in the directory (N,), in one pass if their names are sorted.

        Raises:
            KeyError: there is none of a name.
        """
        return self._directory.find_all(self._prefix + name for name in names)

    def open_entry(self, entry: int) -> IO[bytes]:
        """As `open`, a file that `entries` has found."""
        try:
            return io.BytesIO(self._directory.read(entry))
        except UNREADABLE as error:
            name = self._directory.names[entry].removeprefix(self._prefix)
            raise ValueError(f"{self.path}/{name}: can't be read: {error}") from error

    def stamp(self, name: str) -> str:
        """What tells this file from another of its name."""
        size, checksum = self._directory.entry(self._prefix + name)
        return f"{size}\n{checksum}"


def _listing(images: list[str], others: list[str], hidden: list[str]) -> Listing:
    if not images and (arrays := [name for name in others if name.lower().endswith(ARRAY)]):
        images, others = arrays, [name for name in others if not name.lower().endswith(ARRAY)]
    return Listing(sorted(images), Names(sorted(others)), Names(sorted(hidden)))


def _hidden(name: str) -> bool:
    return name.startswith(HIDDEN) or _DOT in name or _MACOSX in name


def holds_latents(path: str) -> bool:
    """Whether a folder is one that `lit-gen encode` writes."""
    return os.path.isfile(os.path.join(path, DESCRIPTION))


def no_images(path: str) -> ValueError:
    """The error for a folder or archive without any image."""
    if holds_latents(path):
        return ValueError(
            f"root: {path!r} holds latents, no images ({DESCRIPTION}): for lit-gen fit --data LatentDataModule "
            f"--data.root {path}; what encodes and decodes them is its folder {CODEC}"
        )
    return ValueError(f"root: no image below {path!r}; accepted are {', '.join((*EXTENSIONS, ARRAY))}")
