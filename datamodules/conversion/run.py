"""A conversion from the first picture to the verified target: in parts, so that one that was killed goes on."""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datamodules.base import DataModule
from datamodules.conversion.checks import verify
from datamodules.conversion.parquet import require_pyarrow
from datamodules.conversion.parts import Done, Finished, Part, Parts, parts_of
from datamodules.conversion.pictures import Refused, Wanted
from datamodules.conversion.targets import WRITERS, Kind
from datamodules.conversion.workers import begin, write_part
from datamodules.datasets import SPLITS, Split
from lit_gen.files import hold, let_go, read_json, whole_file

FULL = (errno.ENOSPC, errno.EDQUOT)
MANIFEST, LOCK, VERIFIED = "manifest.json", "lock", "verified"
Progress = Callable[[int, int], None]  # is told how many pictures are done, and of how many


@dataclass(frozen=True)
class Outcome:
    """What a conversion has done.

    Args:
        read: pictures of the source.
        written: pictures of the target by split.
        stayed: how many have the bytes of the source.
        refused: why pictures can't be read, a line each.
    """

    read: int
    written: dict[Split, int]
    stayed: int
    refused: tuple[str, ...]


class Conversion:
    """Writes data at a new place in another form.

    Finished parts lie in a hidden folder beside the target, ``.NAME.converting``, with a manifest of the source and the
    options, until the target is whole. The same conversion goes on where another was killed, and its target is the same
    to the byte, for any number of processes. The target gets its name only after it has been read again, and each of
    its pictures has the checksum and the label with which it was written.

    Args:
        data: what is converted.
        source: a fingerprint of where it lies, by which a change is noticed; `stamp_of` gives one.
        reading: the options by which the data were opened, for the same end.
        target: a new file or folder.
        kind: of the target.
        wanted: what pictures are to be like.
        read_back: opens a finished target as a data module without further splits.
        skip_unreadable: leaves out what can't be read, and lists it.
        processes: that read and encode.
        images_per_part: of a part, which is a shard, or a row group of parquet.

    Raises:
        ValueError: the target exists, belongs to another conversion, or can't hold such data.
    """

    def __init__(
        self,
        data: DataModule,
        source: str,
        reading: Mapping[str, Any],
        target: str | Path,
        kind: Kind,
        wanted: Wanted,
        read_back: Callable[[Path], DataModule],
        skip_unreadable: bool = False,
        processes: int = 1,
        images_per_part: int = 1000,
    ) -> None:
        if min(processes, images_per_part) < 1:
            raise ValueError(f"processes={processes}, images_per_part={images_per_part}: must be at least 1")
        if kind == "parquet":
            require_pyarrow()
        self.target, self.kind, self.processes, self.read_back = Path(target), kind, processes, read_back
        self.folder = self.target.absolute().with_name(f".{self.target.name}.converting")
        if self.target.exists() and not (self.folder / VERIFIED).exists():
            raise ValueError(f"{self.target}: exists already; a conversion makes a new one")
        datasets = {split: data.dataset(split) for split in SPLITS}
        self.sizes = {split: len(dataset) for split, dataset in datasets.items() if len(dataset)}
        self.class_names = tuple(data.class_names) if data.num_classes else ()
        self._check_kind(data, wanted)
        self.list = parts_of(self.sizes, images_per_part)
        self.parts = Parts(self.folder, datasets, bool(self.class_names), wanted, skip_unreadable)
        self.manifest = json.loads(
            json.dumps({"source": source, "options": {**reading, **self._options(wanted, images_per_part)}})
        )

    def _options(self, wanted: Wanted, images_per_part: int) -> dict[str, Any]:
        import PIL

        told = {"kind": self.kind, **asdict(wanted), "images_per_part": images_per_part, "pillow": PIL.__version__}
        return {**told, "images": self.sizes, "class_names": self.class_names}

    def _check_kind(self, data: DataModule, wanted: Wanted) -> None:
        pictures = len(data.image_shape) == 3 and data.image_shape[0] in (1, 3)
        if not pictures and self.kind not in ("shards", "npz"):
            shape = " x ".join(map(str, data.image_shape))
            raise ValueError(
                f"{data.name}: of shape {shape}, no pictures of 1 or 3 channels, which a {self.kind} holds"
            )
        if self.kind == "parquet" and self.target.suffix == ".parquet" and len(self.sizes) > 1:
            raise ValueError(
                f"{self.target}: one parquet file has no splits, and {data.name} has {', '.join(self.sizes)}; give a "
                "name without a suffix, and --to parquet, for a folder of files"
            )
        if self.kind == "npz" and pictures and wanted.size is not None and wanted.size[0] in (1, 3, 4):
            raise ValueError(f"image_size={wanted.size}: rows of an .npz that can't be told from channels")

    def run(self, progress: Progress = lambda done, total: None) -> Outcome:
        """Do what is left to do, and read the target again.

        Raises:
            ValueError: a picture that can't be read, another process at the same work, or a target that doesn't read
                back as it was written.
            OSError: no space on the disk, missing rights.
        """
        with self._work(), self._told_of_full_disks():
            finished = list(self._finished(progress))
            if not sum(len(part.done.suffixes) for part in finished):
                raise ValueError(
                    f"none of the {sum(self.sizes.values())} pictures can be read: {finished[0].done.refused[0]}"
                )
            if not self.target.exists():
                self._assemble(finished)
            outcome = self._outcome(finished)
        shutil.rmtree(self.folder, ignore_errors=True)
        return outcome

    @contextmanager
    def _work(self) -> Iterator[None]:
        """The folder of the parts, kept from other processes; one without a finished part goes after an error."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = hold(self.folder / LOCK)
        if lock is None:
            raise ValueError(f"{self.target}: another process is converting to it")
        try:
            known = read_json(self.folder / MANIFEST)
            if known and known != self.manifest:
                self._refuse(known)
            if not known:
                with whole_file(self.folder / MANIFEST) as file:
                    file.write(json.dumps(self.manifest).encode())
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            yield
        finally:
            let_go(self.folder / LOCK, lock)
            if not any(self.folder.glob("part-*.json")):
                shutil.rmtree(self.folder, ignore_errors=True)

    def _refuse(self, known: dict[str, Any]) -> None:
        options, own = known.get("options", {}), self.manifest["options"]
        changed = [f"{name} {options.get(name)}" for name in own if options.get(name) != own[name]]
        told = f"with {', '.join(changed)}" if changed else "of other files, or of files that have changed since"
        raise ValueError(
            f"{self.target}: {self.folder} holds the finished parts of another conversion, {told[:200]}; repeat that "
            "one, or delete the folder"
        )

    @contextmanager
    def _told_of_full_disks(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._remove_unfinished()
            raise OSError(
                error.errno,
                f"{os.strerror(error.errno)}: {self.target} needs more; the finished parts stay in {self.folder}, and "
                "the same command goes on with them",
            ) from error

    def _finished(self, progress: Progress) -> Iterator[Finished]:
        """All parts in their order, after writing those that lack."""
        known = {part.number: done for part in self.list if (done := self.parts.done(part)) is not None}
        counts = {part.number: part.stop - part.start for part in self.list}
        total, read = sum(counts.values()), sum(counts[number] for number in known)
        for number, done in self._written([part for part in self.list if part.number not in known]):
            known[number] = done
            read += counts[number]
            progress(read, total)
        return (Finished(known[part.number], self.parts.tar(part.number)) for part in self.list)

    def _written(self, lacking: list[Part]) -> Iterator[tuple[int, Done]]:
        if self.processes == 1:
            yield from ((part.number, self.parts.write(part)) for part in lacking)
            return
        with ProcessPoolExecutor(self.processes, initializer=begin, initargs=(self.parts,)) as pool:
            futures = {pool.submit(write_part, part): part.number for part in lacking}
            try:
                for future in as_completed(futures):
                    done = future.result()
                    if isinstance(done, Refused):
                        raise ValueError(done.reason)
                    yield futures.pop(future), done
            except BrokenProcessPool:
                raise ValueError("a process that read pictures was ended from outside, as by want of memory") from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _unfinished(self) -> Path:
        return self.folder / self.target.name

    def _remove_unfinished(self) -> None:
        if self._unfinished.is_dir():
            shutil.rmtree(self._unfinished)
        else:
            self._unfinished.unlink(missing_ok=True)

    def _assemble(self, finished: list[Finished]) -> None:
        """Write the target beside the parts, read it again, and give it its name."""
        unfinished = self._unfinished
        self._remove_unfinished()
        (self.folder / VERIFIED).unlink(missing_ok=True)
        WRITERS[self.kind](unfinished, finished, self.class_names)
        verify(self.read_back(unfinished), finished, self.class_names, str(self.target))
        (self.folder / VERIFIED).touch()
        if self.target.exists():  # since the beginning: nothing is replaced
            raise ValueError(f"{self.target}: exists already; a conversion makes a new one")
        os.rename(unfinished, self.target)

    def _outcome(self, finished: list[Finished]) -> Outcome:
        written: Counter[Split] = Counter()
        for part in finished:
            written[part.done.split] += len(part.done.suffixes)
        refused = tuple(reason for part in finished for reason in part.done.refused)
        stayed = sum(part.done.stayed for part in finished)
        return Outcome(sum(written.values()) + len(refused), dict(written), stayed, refused)
