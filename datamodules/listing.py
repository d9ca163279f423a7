"""The files below a folder or inside a .zip: images, and everything else by name."""

import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from datamodules.decoding import EXTENSIONS, UNREADABLE, is_image
from datamodules.splits import split_named
from lit_gen.encoded import CODEC, DESCRIPTION

HIDDEN = (".", "__MACOSX")  # beginnings of names that are not looked at


class Names(Sequence[str]):
    """Strings in one piece of memory: a million paths that workers share without copying them page by page."""

    def __init__(self, names: Iterable[str]):
        encoded = [os.fsencode(name) for name in names]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return os.fsdecode(self._text[self._ends[i] : self._ends[i + 1]])


@dataclass(frozen=True)
class Listing:
    """Paths ``a/b.png``, relative to where they were found, sorted.

    Args:
        images: files with a suffix of `EXTENSIONS`.
        others: all other files.
        hidden: files and folders that begin with a dot, and ``__MACOSX`` of archives; not looked into.
    """

    images: list[str]
    others: Names
    hidden: Names


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
    return Listing(sorted(images), Names(sorted(others)), Names(sorted(hidden)))


class Archive:
    """The files of a .zip, opened anew in every process: workers that share one handle would read each other's bytes.

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
        self._process = -1
        self._zip: zipfile.ZipFile | None = None
        self._prefix = ""
        names = [name for name in self._opened().namelist() if not name.endswith("/") and not _hidden(name)]
        tops = {name.partition("/")[0] for name in names}
        if len(tops) == 1 and all("/" in name for name in names) and split_named(top := tops.pop()) is None:
            self._prefix = f"{top}/"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": -1, "_zip": None}

    def listing(self) -> Listing:
        """What is in it."""
        images: list[str] = []
        others: list[str] = []
        hidden: list[str] = []
        for name in dict.fromkeys(self._opened().namelist()):
            if name.endswith("/"):
                continue
            if _hidden(name):
                hidden.append(name)
                continue
            name = name.removeprefix(self._prefix)
            (images if is_image(name) else others).append(name)
        return Listing(sorted(images), Names(sorted(others)), Names(sorted(hidden)))

    def open(self, name: str) -> IO[bytes]:
        """A file to read.

        Raises:
            ValueError: it can't be read; names it.
        """
        try:
            return self._opened().open(self._prefix + name)
        except UNREADABLE as error:
            raise ValueError(f"{self.path}/{name}: can't be read: {error}") from error

    def stamp(self, name: str) -> str:
        """What tells this file from another of its name."""
        entry = self._opened().getinfo(self._prefix + name)
        return f"{entry.file_size}\n{entry.CRC}"

    def _opened(self) -> zipfile.ZipFile:
        if self._zip is not None and self._process == os.getpid():
            return self._zip
        try:
            opened = zipfile.ZipFile(self.path)
        except UNREADABLE as error:
            raise ValueError(f"root: {self.path}: not a readable .zip file: {error}") from error
        self._process, self._zip = os.getpid(), opened
        return opened


def _hidden(name: str) -> bool:
    return any(part.startswith(HIDDEN) for part in name.split("/"))


def no_images(path: str) -> ValueError:
    """The error for a folder or archive without any image."""
    if os.path.isfile(os.path.join(path, DESCRIPTION)):
        return ValueError(
            f"root: {path!r} holds latents, no images ({DESCRIPTION}): for lit-gen fit --data LatentDataModule "
            f"--data.root {path}; what encodes and decodes them is its folder {CODEC}"
        )
    return ValueError(f"root: no image below {path!r}; accepted are {', '.join(EXTENSIONS)}")
