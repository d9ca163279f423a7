"""Files and folders that are whole or absent."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    from fcntl import LOCK_EX, LOCK_NB, flock, lockf
except ImportError:  # Windows: leftovers stay, and nobody is kept out
    flock = lockf = None  # type: ignore[assignment]

UMASK = os.umask(0)  # can only be read by changing it, which isn't for one of several threads
os.umask(UMASK)


@contextmanager
def whole_file(path: str | Path, previous: str | Path | None = None) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` only once it is complete and on the disk.

    It is written beside the target, so that the renaming is one step; after any error the target is as it was, and at
    no moment is there none.

    Args:
        path: The target.
        previous: A name beside it under which the file that is replaced stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = _temporary(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp's files are private
            os.fsync(file.fileno())
            if previous is not None and path.exists():
                _keep(path, Path(previous))
            os.replace(temporary, path)  # before the lock goes with the descriptor
        _sync_folder(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill that gets its name only once it is complete; after any error nothing is left of it.

    It is made beside its place, so that the renaming is one step. An empty folder that is there already gives way to
    it at the end.

    Args:
        folder: The target. Callers refuse one that holds something before the work begins.

    Raises:
        OSError: if the target holds something, which stays as it is.
    """
    folder = Path(folder)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def hold(path: str | Path) -> IO[bytes] | None:
    """Keep other processes from holding the same file, until what is returned is closed or this process is gone.

    The lock is of the process, not of the open file: the workers that it forks don't inherit it, so that none that
    outlives it for a moment keeps its successor out. Within one process it keeps nobody out.

    Args:
        path: A file, which is made if there is none.

    Returns:
        None if another process holds it. Where the file system has no locks everyone holds everything.
    """
    while True:
        file = open(path, "ab")  # noqa: SIM115
        if lockf is not None:
            try:
                lockf(file, LOCK_EX | LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    file.close()
                    return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # its last holder has taken it away in between


def let_go(path: str | Path, held: IO[bytes]) -> None:
    """Let others hold a file, and take it away."""
    with contextlib.suppress(OSError):
        Path(path).unlink()
    held.close()


def user_cache(folder: str | None, kind: str) -> Path:
    """The folder named, or lit-gen/<kind> in the user's cache (XDG)."""
    if folder is not None:
        return Path(folder).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "lit-gen" / kind


def read_json(path: str | Path) -> dict[str, Any]:
    """What a JSON file of names and values says; nothing where it is none, or isn't there."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def remove_leftovers(folders: str | Path, pattern: str) -> None:
    """Delete the unfinished files that killed processes have left.

    Files that a living process is writing are locked and stay.

    Args:
        folders: Where to look.
        pattern: Of the folders in it that hold the files.
    """
    if flock is None:
        return
    for path in Path(folders).glob(f"{pattern}/.*.tmp"):
        with suppress(OSError), open(path, "rb") as file:
            flock(file, LOCK_EX | LOCK_NB)
            path.unlink(missing_ok=True)


def check_archive(path: str | Path) -> None:
    """Compare every record of a zip archive, which a checkpoint is, with its checksum.

    Raises:
        ValueError: if the file is truncated or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise ValueError(f"truncated or no checkpoint: {error}") from None
    if damaged is not None:
        raise ValueError(f"damaged: {damaged} doesn't have its checksum")


def _temporary(path: Path) -> tuple[int, str]:
    """A new file beside ``path``, locked where the file system can do so."""
    while True:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        if flock is not None:
            with suppress(OSError):
                flock(descriptor, LOCK_EX)
        if os.fstat(descriptor).st_nlink:  # else it was removed as a leftover before it was locked
            return descriptor, temporary
        os.close(descriptor)


def _keep(path: Path, previous: Path) -> None:
    """Give a file a second name; a copy where the file system has no links."""
    link = path.with_name(f".{previous.name}.{os.getpid()}.tmp")
    link.unlink(missing_ok=True)
    with open(path, "rb") as file:
        if flock is not None:
            with suppress(OSError):
                flock(file, LOCK_EX)  # the link is no leftover
        try:
            os.link(path, link)
        except OSError:
            with whole_file(previous) as copy:
                shutil.copyfileobj(file, copy)
        else:
            os.replace(link, previous)


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power failure, where folders can be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
