"""Files of a folder here, or elsewhere and copied to this machine when first asked for. Imports no Lightning.

What `fsspec` opens, which Lightning brings: ``https://``, and with the packages that it names ``hf://``, ``s3://``,
``gs://`` and others.
"""

import contextlib
import hashlib
import os
import posixpath
import re
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lit_gen.files import hold, let_go, remove_leftovers, whole_file

ATTEMPTS, PAUSE = 4, 1.0  # of a copy, and seconds after the first, which double
POLL = 0.05  # seconds between looks at what another process copies
BLOCK = 2**20  # bytes


def is_remote(root: str) -> bool:
    """Whether a root is a URL."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", root) is not None


class LocalFolder:
    """A folder of this machine, by the questions that a `RemoteFolder` answers."""

    most = None

    def __init__(self, path: Path):
        self.path, self.told = path, str(path)

    def open(self, name: str, size: int, checksum: int | None = None) -> IO[bytes]:
        """A file to read, whatever its size and checksum."""
        return open(self.path / name, "rb")


class RemoteFolder:
    """A folder by its URL, and the copies of its files.

    Processes share the copies, of which one makes each. A copy is whole, or isn't there.

    Args:
        url: of the folder.
        cache: folder of all copies; this one's lie below it.
        most: bytes that the copies may take, beside the one that is being made; the one that was used longest ago goes
            first. None for all that are asked for.

    Raises:
        ModuleNotFoundError: fsspec, or what it needs for such a URL, isn't installed.
        ValueError: a URL of a kind that it doesn't know, or a cache that can't be made.
    """

    def __init__(self, url: str, cache: Path, most: int | None = None):
        self.url, self.most = url.rstrip("/"), most
        self.told = re.sub(r"//[^/@]*@", "//", self.url)  # without a password
        self.path = cache / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self._system()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cache_folder={str(cache)!r}: can't be used: {error}") from error
        remove_leftovers(cache, self.path.name)

    def _system(self) -> tuple[Any, str]:
        """A file system of this process's own, and the folder's path in it."""
        try:
            from fsspec.core import url_to_fs

            system, path = url_to_fs(self.url, skip_instance_cache=True)
        except ImportError as error:
            raise ModuleNotFoundError(f"root={self.told!r}: {error}") from None
        except ValueError as error:
            raise ValueError(f"root={self.told!r}: {error}") from None
        return system, path

    def sizes(self, ending: str) -> dict[str, int]:
        """Bytes of the files of an ending, sorted by their names.

        Raises:
            ValueError: the folder can't be listed, or has none.
        """
        system, path = self._system()
        try:
            entries = system.ls(path, detail=True)
            named = {posixpath.basename(entry["name"]): entry for entry in entries if entry["name"].endswith(ending)}
            found = {name: int(entry["size"] or system.size(entry["name"])) for name, entry in sorted(named.items())}
        except Exception as error:  # each kind of file system raises its own
            raise ValueError(f"root={self.told!r}: can't be listed: {_line(error)}") from None
        if not found:
            raise ValueError(f"root={self.told!r}: no file {ending} in it")
        return found

    def newest(self, name: str) -> Path | None:
        """A new copy of a file; an earlier one, with a warning, where it can't be reached; None where there is none.

        Raises:
            ValueError: it can't be reached, and there is no copy.
        """
        copy = self.path / name
        with self._alone(copy):
            try:
                self._copy(name, copy)
            except FileNotFoundError:
                copy.unlink(missing_ok=True)
                return None
            except ValueError as error:
                if not copy.exists():
                    raise
                warnings.warn(f"{error}; the copy of an earlier run is taken, {copy}", stacklevel=2)
        return copy

    def open(self, name: str, size: int, checksum: int | None = None) -> IO[bytes]:
        """The copy of a file, to read. One of another checksum is another file, whatever its name and size.

        Args:
            name: in the folder.
            size: bytes that it must have.
            checksum: its CRC-32, which is compared when it is copied; None if it isn't known.

        Raises:
            ValueError: it can't be copied, or is another one.
        """
        while True:
            with contextlib.suppress(FileNotFoundError):  # others have made room in between
                return open(self._file(name, size, checksum), "rb")

    def _file(self, name: str, size: int, checksum: int | None) -> Path:
        copy = self.path / (name if checksum is None else f"{checksum:08x}-{name}")
        while not _is_whole(copy, size):
            with self._alone(copy) as alone:
                if alone and not _is_whole(copy, size):
                    try:
                        self._copy(name, copy, size, checksum)
                    except FileNotFoundError as error:
                        raise ValueError(f"{self.told}/{name}: not there: {_line(error)}") from None
                    self._make_room(copy)
        if self.most is not None:
            with contextlib.suppress(OSError):
                os.utime(copy)
        return copy

    @contextlib.contextmanager
    def _alone(self, copy: Path) -> Iterator[bool]:
        """Hold a file's place among all processes of this machine; False after a moment where another does."""
        copy.parent.mkdir(parents=True, exist_ok=True)
        lock = copy.with_name(f".{copy.name}.lock")
        held = hold(lock)
        if held is None:
            time.sleep(POLL)
            yield False
            return
        try:
            yield True
        finally:
            let_go(lock, held)

    def _copy(self, name: str, copy: Path, size: int | None = None, checksum: int | None = None) -> None:
        """Copy a file, again after a pause where that fails."""
        for attempt in range(ATTEMPTS):
            error = self._tried(name, copy, size, checksum)
            if error is None:
                return
            if isinstance(error, OtherError) or _is_absent(error):
                raise error
            if attempt == ATTEMPTS - 1:
                told = f"can't be copied to {self.path} in {ATTEMPTS} attempts: {_line(error)}"
                raise ValueError(f"{self.told}/{name}: {told}")
            time.sleep(PAUSE * 2**attempt)

    def _tried(self, name: str, copy: Path, size: int | None, checksum: int | None) -> Exception | None:
        """Copy a file; what went wrong."""
        try:
            system, path = self._system()
            with system.open(f"{path}/{name}", "rb", block_size=BLOCK) as source, whole_file(copy) as target:
                count = found = 0
                while block := source.read(BLOCK):
                    target.write(block)
                    count, found = count + len(block), zlib.crc32(block, found)
                if size is not None and count < size:
                    raise ValueError(f"{count:,} bytes, and its index says {size:,}")
                if count != (count if size is None else size) or found != (found if checksum is None else checksum):
                    raise OtherError(f"{self.told}/{name}: another file than its index says; write the index anew")
        except Exception as error:  # each kind of file system raises its own
            return error
        return None

    def _make_room(self, newest: Path) -> None:
        """Take away the copies that were used longest ago; who has one open may read on."""
        if self.most is None:
            return
        found = []
        for path in self.path.glob("*.tar"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, path in found if path != newest)
        for _, size, path in sorted(found):
            if total <= self.most:
                return
            if path != newest:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size


class OtherError(ValueError):
    """A file isn't the one that is meant."""


def _is_absent(error: Exception) -> bool:
    """Whether a file isn't there. HTTP's file system says so of every failure, the true one being the cause."""
    cause = error.__cause__
    known = cause is None or isinstance(cause, FileNotFoundError | KeyError) or getattr(cause, "status", None) == 404
    return isinstance(error, FileNotFoundError) and known


def _is_whole(copy: Path, size: int) -> bool:
    try:
        return copy.stat().st_size == size
    except OSError:
        return False


def _line(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip().partition("\n")[0]
