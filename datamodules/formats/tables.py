"""Pictures in the rows of tables: parquet files, and Arrow files in memory maps. Imports no Lightning."""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.formats.columns import Columns, labels_in, pyarrow
from datamodules.formats.containers import one_line
from datamodules.formats.records import FileRecords
from datamodules.image_files import file_stamp
from datamodules.of_process import OfProcess, kept

HELD = 2**28  # bytes of encoded pictures that a process keeps of parquet files, at least those of two row groups
WINDOW = 10_000  # pictures, at most, among which the order is random by default; more would only take more memory
LARGE = 2**30  # bytes of a row group that is worth a warning
OPEN = 16  # parquet files
DIFFERING = {"image": "column of pictures", "label": "column of labels", "class_names": "names of classes"}
END = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream


class Tables(FileRecords):
    """Rows of several files, one file after another.

    Args:
        paths: the files.
        image: name of the column of pictures; None finds it.
        label: of labels; ``none`` for no labels; None finds it.

    Attributes:
        columns: those that are read.
        stored: bytes are not in so many rows, but in files that the rows name.

    Raises:
        ValueError: a damaged file, or columns that aren't there or differ between files.
    """

    def __init__(self, paths: Sequence[str], image: str | None = None, label: str | None = None):
        self.paths = list(paths)
        self.columns = self._columns(image, label)
        super().__init__(paths, [file_stamp(path) for path in paths], [self.rows(path) for path in paths])
        self.stored = sum(self.without_bytes(path) for path in self.paths)

    def _columns(self, image: str | None, label: str | None) -> Columns:
        found = [Columns.of(self.schema(path), path, image, label) for path in self.paths]
        for path, columns in zip(self.paths, found, strict=True):
            for name, what in DIFFERING.items():
                own, first = getattr(columns, name) or "none", getattr(found[0], name) or "none"
                if own != first:
                    raise ValueError(f"{path}: {what} {own}, but {self.paths[0]} has {first}")
        return found[0]

    @abstractmethod
    def schema(self, path: str) -> Any:
        """Of a file."""

    @abstractmethod
    def rows(self, path: str) -> int:
        """Number of a file's rows."""

    @abstractmethod
    def without_bytes(self, path: str) -> int:
        """Number of a file's rows that hold a path in the place of bytes."""

    @abstractmethod
    def column(self, path: str, name: str) -> Any:
        """A whole column of a file, as a chunked array."""

    @abstractmethod
    def cell(self, path: str, row: int) -> Any:
        """The picture of a file's row, as a scalar."""

    def labels(self) -> list[np.ndarray]:
        """Of each file's rows, numbers from 0, words or one-hot rows; only where there is a column of labels.

        Raises:
            NoClassesError: values of another kind.
            ValueError: a row without label or with one that is out of range.
        """
        name, count = self.columns.label, len(self.columns.class_names)
        assert name is not None
        found = [labels_in(self.column(path, name), name, count, path) for path in self.paths]
        pyarrow().default_memory_pool().release_unused()  # else every process that is forked from here begins with it
        return found

    def content(self, record: int) -> bytes:
        """The bytes in a row, or those of the file that it names."""
        number, row = self._place(record)
        path = self.paths[number]
        name, cell = f"{path}: row {row}", self.cell(path, row)
        value = cell.as_py() if cell.is_valid else None
        found = value.get("bytes") if isinstance(value, dict) else value
        if found is not None:
            return found
        file = value.get("path") if isinstance(value, dict) else None
        if file is None:
            raise ValueError(f"{name}: no picture in {self.columns.image!r}, neither bytes nor a path")
        try:
            return (Path(path).parent / file).read_bytes()
        except OSError as error:
            raise ValueError(
                f"{name}: no bytes in {self.columns.image!r}, and its path can't be read: {error}"
            ) from None

    def named(self, number: int, row: int) -> str:
        """Its number."""
        return f"row {row}"


class ParquetRows(Tables):
    """Rows of parquet files, read row group by row group; a process keeps the last few.

    Args:
        paths: as in `Tables`.
        image: as in `Tables`.
        label: as in `Tables`.
        window: records among which a training order is random, which says how many row groups a process keeps; None
            for `WINDOW`, but no more than `HELD` bytes.
    """

    def __init__(
        self, paths: Sequence[str], image: str | None = None, label: str | None = None, window: int | None = None
    ):
        self._opened: OfProcess[OrderedDict[str, Any]] = OfProcess(OrderedDict)
        self._groups: OfProcess[OrderedDict[tuple[str, int], Any]] = OfProcess(OrderedDict)
        super().__init__(paths, image, label)
        sizes, counts = [], []
        self._bounds: dict[str, np.ndarray] = {}
        for path in self.paths:
            groups = _row_groups(self._file(path), self.columns.image)
            counts += [count for count, _ in groups]
            sizes += [size for _, size in groups]
            self._bounds[path] = np.cumsum([count for count, _ in groups], dtype=np.int64)
        self.pieces = np.repeat(np.arange(len(counts)), counts)
        self.largest = max(sizes, default=0)
        number, mean = max(len(counts), 1), max(len(self) // max(len(counts), 1), 1)
        self.window = window or mean * max(1, min(-(-WINDOW // mean), HELD * number // max(sum(sizes), 1)))
        self.held = -(-self.window // mean) + 1

    def hold(self, pieces: np.ndarray) -> None:
        """As many row groups as a window of a split touches at most, of which each has only some rows."""
        counts = np.sort(np.unique(pieces, return_counts=True)[1])
        self.held = int(np.searchsorted(np.cumsum(counts), self.window)) + 2  # the first and the last in part

    def schema(self, path: str) -> Any:
        """As of Arrow."""
        return self._file(path).schema_arrow

    def rows(self, path: str) -> int:
        """From the file's footer."""
        return int(self._file(path).metadata.num_rows)

    def without_bytes(self, path: str) -> int:
        """From the row groups' statistics, else as the first row group has it."""
        file, nulls = self._file(path), 0
        for group in range(file.num_row_groups):
            described = file.metadata.row_group(group)
            chunks = [described.column(i) for i in range(described.num_columns)]
            chunk = next((chunk for chunk in chunks if chunk.path_in_schema == f"{self.columns.image}.bytes"), None)
            if chunk is None:
                return 0
            if chunk.statistics is None or not chunk.statistics.has_null_count:
                return sum(cell["bytes"].as_py() is None for cell in self._read(path, 0)) * file.num_row_groups
            nulls += chunk.statistics.null_count
        return nulls

    def column(self, path: str, name: str) -> Any:
        """The labels, say, of all row groups."""
        with _readable(path):
            return self._file(path).read(columns=[name], use_threads=False).column(0)

    def cell(self, path: str, row: int) -> Any:
        """From the row group, which stays in memory until others have taken its place."""
        bounds = self._bounds[path]
        group = int(np.searchsorted(bounds, row, side="right"))
        column = kept(self._groups.value, (path, group), self.held, lambda: self._read(path, group))
        return column[row - int(bounds[group - 1] if group else 0)]

    def _read(self, path: str, group: int) -> Any:
        with _readable(f"{path}: row group {group}"):
            return self._file(path).read_row_group(group, columns=[self.columns.image], use_threads=False).column(0)

    def _file(self, path: str) -> Any:
        return kept(self._opened.value, path, OPEN, lambda: _parquet_file(path))


class ArrowRows(Tables):
    """Rows of Arrow files, mapped into memory and not read before they are asked for."""

    def __init__(self, paths: Sequence[str], image: str | None = None, label: str | None = None):
        self._opened: OfProcess[dict[str, Any]] = OfProcess(dict)
        super().__init__(paths, image, label)

    def schema(self, path: str) -> Any:
        """Of the stream."""
        return self._table(path).schema

    def rows(self, path: str) -> int:
        """Of all batches."""
        return int(self._table(path).num_rows)

    def without_bytes(self, path: str) -> int:
        """From the bitmaps of what is null."""
        column = self.column(path, self.columns.image)
        if not pyarrow().types.is_struct(column.type):
            return 0
        return sum(chunk.field("bytes").null_count for chunk in column.chunks)

    def column(self, path: str, name: str) -> Any:
        """In the memory map."""
        return self._table(path).column(name)

    def cell(self, path: str, row: int) -> Any:
        """From the memory map."""
        return self.column(path, self.columns.image)[row]

    def _table(self, path: str) -> Any:
        opened = self._opened.value
        if path not in opened:
            pa = pyarrow()
            with _readable(path):
                mapped = pa.memory_map(path)
                whole = mapped.read_at(6, 0) == b"ARROW1"
                if not whole and mapped.read_at(len(END), max(0, mapped.size() - len(END))) != END:
                    raise ValueError("it has no end: cut off, or still being written")
                opened[path] = (pa.ipc.open_file if whole else pa.ipc.open_stream)(mapped).read_all()
        return opened[path]


def _parquet_file(path: str) -> Any:
    with _readable(path):  # pre_buffer would read ahead, and keep what it has read
        return pyarrow().parquet.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)


def _row_groups(file: Any, image: str) -> list[tuple[int, int]]:
    """Rows of each row group of a parquet file, and the bytes of their pictures."""
    found = []
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns)]
        mine = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(f"{image}.")]
        found.append((group.num_rows, sum(chunk.total_uncompressed_size for chunk in mine)))
    return found


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """What goes wrong within is an error of one line that names the file."""
    try:
        yield
    except (ValueError, OSError, pyarrow().ArrowException) as error:
        raise ValueError(f"{what}: can't be read: {one_line(error)}") from None
