"""Where the files of a .zip are, in arrays that forked processes share.

Python's zipfile makes an object of each entry, in every process that opens the file. Here the directory is read once,
and a file by one seek and one read. Layout: APPNOTE.TXT of PKWARE, 4.3 and 4.5.3.
"""

import os
import struct
import zipfile
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import IO, Any

import numpy as np

from datamodules.of_process import OfProcess

ENTRY = np.dtype(  # of the central directory, followed by name, extra field and comment
    {
        "names": ["magic", "flags", "method", "checksum", "packed", "size", "named", "extra", "comment", "offset"],
        "formats": ["S4", "<u2", "<u2", "<u4", "<u4", "<u4", "<u2", "<u2", "<u2", "<u4"],
        "offsets": [0, 8, 10, 16, 20, 24, 28, 30, 32, 42],
        "itemsize": 46,
    }
)
LENGTHS, LENGTHS_AT = struct.Struct("<3H"), 28  # of name, extra field and comment
LOCAL = struct.Struct("<4s22x2H")  # lengths of name and extra field, which may be others than the directory's
END = struct.Struct("<4s8x2L2x")
LOCATOR = struct.Struct("<4s16x")
END64 = struct.Struct("<4s36x2Q")
ENCRYPTED, UTF8 = 1, 0x800  # flags
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
SLACK = 64  # bytes that a local extra field may have more than the directory's, without a second read
CHUNK = 2**16  # of names that are gone through
LARGE = 0xFFFFFFFF  # stands for a number that the extra field holds


class Names(Sequence[str]):
    """Strings in one piece of memory: a million paths that workers share without copying them page by page."""

    def __init__(self, names: Iterable[str]):
        names = list(names)
        text: str = "".join(names)
        if text.isascii():
            self._text, lengths = text.encode(), map(len, names)
        else:
            encoded = list(map(os.fsencode, names))
            self._text, lengths = b"".join(encoded), map(len, encoded)
        self._ends = np.zeros(len(names) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(lengths, dtype=np.int64, count=len(names)), out=self._ends[1:])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), CHUNK):
            ends = self._ends[first : first + CHUNK + 1]
            text, (start, *rest) = self._text[ends[0] : ends[-1]], (ends - ends[0]).tolist()
            whole = text.decode("ascii") if text.isascii() else None
            for end in rest:
                yield os.fsdecode(text[start:end]) if whole is None else whole[start:end]
                start = end

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return os.fsdecode(self._text[self._ends[i] : self._ends[i + 1]])

    def length(self, i: int) -> int:
        """Bytes of a string."""
        return int(self._ends[i + 1] - self._ends[i])


class ZipDirectory:
    """The entries of a .zip, sorted by their names; of several of one name the first in the file comes first.

    Args:
        path: the file.

    Attributes:
        names: of all entries, folders included.

    Raises:
        zipfile.BadZipFile: no .zip, or a damaged directory.
    """

    def __init__(self, path: str):
        self.path = path
        self._file: OfProcess[IO[bytes]] = OfProcess(partial(_unbuffered, path))
        with open(path, "rb") as file:
            directory, moved = _directory(file)
        names, rows = _entries(directory)
        order = sorted(range(len(names)), key=names.__getitem__)
        self.names = Names(map(names.__getitem__, order))
        self._flags, self._checksums, self._packed, self._sizes, self._offsets = rows[:, order]
        self._offsets += np.uint64(moved)

    def entry(self, name: str) -> tuple[int, int]:
        """Size and CRC-32 of a file.

        Raises:
            KeyError: there is none of this name.
        """
        i = self.find(name)
        return int(self._sizes[i]), int(self._checksums[i])

    def find(self, name: str) -> int:
        """The last entry of a name, by bisection.

        Raises:
            KeyError: there is none.
        """
        low = bisect_right(self.names, name)
        if low == 0 or self.names[low - 1] != name:
            raise KeyError(f"There is no item named {name!r} in the archive")
        return low - 1

    def find_all(self, names: Iterable[str]) -> np.ndarray:
        """`find` of each name (N,), by going once through all entries as far as the names are sorted."""
        found, entries = array("q"), enumerate(self.names)
        (i, own), ahead = (-1, ""), next(entries, None)
        for name in names:
            while ahead is not None and ahead[1] <= name:
                (i, own), ahead = ahead, next(entries, None)
            found.append(i if own == name else self.find(name))
        return np.frombuffer(found, dtype=np.int64)

    def read(self, i: int) -> bytes:
        """The file of an entry, unpacked and compared with its checksum.

        Raises:
            zipfile.BadZipFile: it is damaged.
        """
        flags, method = divmod(int(self._flags[i]), 2**16)
        if flags & ENCRYPTED or method not in (STORED, DEFLATED):
            with zipfile.ZipFile(self.path) as archive:  # which knows more methods, and what to say of passwords
                return archive.read(self.names[i])
        content = self._packed_bytes(i)
        if method == DEFLATED:
            content = zlib.decompressobj(-15).decompress(content, int(self._sizes[i]) + 1)
        if len(content) != self._sizes[i] or zlib.crc32(content) != self._checksums[i]:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self.names[i]!r}")
        return content

    def _packed_bytes(self, i: int) -> bytes:
        # Workers that share a handle would read each other's bytes.
        file, count = self._file.value, int(self._packed[i])
        file.seek(int(self._offsets[i]))
        read = file.read(LOCAL.size + self.names.length(i) + SLACK + count)
        if len(read) < LOCAL.size or read[:4] != b"PK\3\4":
            raise zipfile.BadZipFile("Bad magic number for file header")
        _, *lengths = LOCAL.unpack_from(read)
        begin = LOCAL.size + sum(lengths)
        missing = begin + count - len(read)
        return (read + file.read(missing) if missing > 0 else read)[begin : begin + count]


def _unbuffered(path: str) -> IO[bytes]:
    return open(path, "rb", buffering=0)


def _directory(file: IO[bytes]) -> tuple[bytes, int]:
    """The central directory, and by how many bytes the archive lies behind where its offsets say."""
    length = file.seek(0, os.SEEK_END)
    start = max(0, length - END.size - 2**16)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6", 0, max(0, len(tail) - END.size + 4))
    if at < 0:
        file.seek(0)
        begun = file.read(4) == b"PK\3\4"
        raise zipfile.BadZipFile("it is cut off, its end is missing" if begun else "File is not a zip file")
    _, size, offset = END.unpack_from(tail, at)
    end = start + at
    if end >= LOCATOR.size + END64.size:
        file.seek(end - LOCATOR.size - END64.size)
        large = file.read(END64.size + LOCATOR.size)
        if large[END64.size :][:4] == b"PK\6\7" and large[:4] == b"PK\6\6":
            end -= LOCATOR.size + END64.size
            _, size, offset = END64.unpack_from(large)
    moved = end - size - offset
    if moved < 0:
        raise zipfile.BadZipFile("Bad offset for central directory")
    file.seek(offset + moved)
    directory = file.read(size)
    if len(directory) != size:
        raise zipfile.BadZipFile("Truncated central directory")
    return directory, moved


def _entries(directory: bytes) -> tuple[list[str], np.ndarray]:
    """Names (N,), and of each entry flags and method, CRC-32, size packed and unpacked, offset: uint64 (5, N)."""
    starts, at = array("q"), 0
    while at < len(directory):
        if len(directory) - at < ENTRY.itemsize:
            raise zipfile.BadZipFile("Bad magic number for central directory")
        starts.append(at)
        at += ENTRY.itemsize + sum(LENGTHS.unpack_from(directory, at + LENGTHS_AT))
    begin = np.frombuffer(starts, dtype=np.int64)
    pieces = np.array_split(begin, len(begin) // CHUNK + 1)
    content = np.frombuffer(directory, dtype=np.uint8)
    places = np.arange(ENTRY.itemsize)
    entries = np.concatenate([content[piece[:, None] + places].view(ENTRY)[:, 0] for piece in pieces])
    if (entries["magic"] != b"PK\1\2").any():
        raise zipfile.BadZipFile("Bad magic number for central directory")
    rows = np.stack([entries[name].astype(np.uint64) for name in ("method", "checksum", "packed", "size", "offset")])
    rows[0] += entries["flags"].astype(np.uint64) << np.uint64(16)
    begin = begin + ENTRY.itemsize
    end = begin + entries["named"]
    for i in np.flatnonzero((rows[2:] == LARGE).any(axis=0)):
        packed, size, offset = rows[2:, i].tolist()
        size, packed, offset = _large(directory[end[i] : end[i] + entries["extra"][i]], size, packed, offset)
        rows[2:, i] = packed, size, offset
    spans = zip(begin.tolist(), end.tolist(), (entries["flags"] & UTF8).tolist(), strict=True)
    names = [directory[i:j].decode("utf-8" if utf8 else "cp437").partition("\0")[0] for i, j, utf8 in spans]
    return names, rows


def _large(extra: bytes, *numbers: int) -> list[int]:
    """Size, packed size and offset; the extra field of kind 1 holds those that 32 bits don't, in this order."""
    at, held = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            held = extra[at + 4 : at + 4 + length]
        at += 4 + length
    values = iter(struct.unpack(f"<{len(held) // 8}Q", held[: len(held) // 8 * 8]))
    try:
        return [next(values) if number == LARGE else number for number in numbers]
    except StopIteration:
        raise zipfile.BadZipFile("Corrupt zip64 extra field") from None
