"""What a folder or archive of images means: splits, classes, labels, and what is left out."""

import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets import SPLITS, Split
from datamodules.decoding import UNREADABLE
from datamodules.formats.attributes import Attributes
from datamodules.formats.partition import read_partition
from datamodules.labels import Classes, LabelFile, in_order
from datamodules.listing import Archive, Listing, Names, holds_latents, list_folder, no_images
from datamodules.splits import split_named, splits_named
from datamodules.summary import listed

STYLEGAN = "dataset.json"  # the file of labels that StyleGAN's dataset_tool writes


class ImageTree:
    """The image files below a folder or in a .zip, in splits and with labels; opens no image.

    Folders named as in `SPLIT_NAMES` right under root are the splits; folders right under root, or under each split,
    are the classes where there are at least two. StyleGAN's ``dataset.json`` says the labels where there is one, and
    its folders ``00000``, ``00001``, through which the files are numbered on, are no classes.

    Args:
        root: a folder, or a .zip.
        follow_links: read what links lead to outside of root; they are refused otherwise.
        splits: ``auto``, or ``none`` to take folders of such names as any others, or a file that says the split of each
            image (`read_partition`), as a path or below root.
        labels: ``auto``, ``folders``, ``none``, or a file of labels (`LabelFile`), as a path or below root.
        renumber: as in `Classes.of`.
        attributes: that make the classes, of a file that says several of an image.

    Raises:
        FileNotFoundError: root isn't there.
        ValueError: no image, folders that could be splits or classes, images beside class folders, or labels that
            don't fit.
    """

    def __init__(
        self,
        root: str,
        follow_links: bool = False,
        splits: str = "auto",
        labels: str = "auto",
        renumber: bool | None = None,
        attributes: Sequence[str] | str | None = None,
    ):
        self.root, self.renumber, self.attributes = root, renumber, Attributes.of(attributes)
        self.archive = Archive(root) if not os.path.isdir(root) and root.lower().endswith(".zip") else None
        self.listing: Listing = self.archive.listing() if self.archive else list_folder(root, follow_links)
        if not self.listing.images or holds_latents(root):  # whose arrays are no pictures
            raise no_images(root)
        self._partition = "" if splits in ("auto", "none") else splits
        self._unlisted = 0  # lines of a file of splits that are of no image
        whole: dict[Split, tuple[str, Sequence[str]]] = {"train": ("", self.listing.images)}
        self.parts = whole if splits == "none" else self._divide()
        self._file, self._beside = self._label_files(labels)
        if self.attributes.chosen and self._file is None:
            raise ValueError(f"{self.attributes}: they are said by a file, labels={labels!r}")
        self._labels: dict[Split, np.ndarray] = {}
        undecided = labels == "auto" and not self._file
        self._by_folder = labels == "folders" or (undecided and not self._numbered_on())
        self._chunked = undecided and not self._by_folder
        if self._by_folder:
            self._check_strays()

    @property
    def divided(self) -> bool:
        """Whether folders, or a file, say the splits."""
        return bool(self._partition) or any(folder for folder, _ in self.parts.values())

    def path(self, split: Split, file: str) -> str:
        """Where a file of a split is: a path, or a name in the archive."""
        name = self.parts[split][0] + file
        return name if self.archive else os.path.join(self.root, name)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels; empty without labels."""
        return self._classes.names

    def labels(self, split: Split, files: Sequence[str]) -> Tensor:
        """Class of each file of a split (N,), 0 without labels."""
        if not self.class_names:
            return torch.zeros(len(files), dtype=torch.int64)
        if self._by_folder:
            number = {name: i for i, name in enumerate(self.class_names)}
            return torch.tensor([number[file.split("/")[0]] for file in files], dtype=torch.int64)
        raw, whole = self._raw(split), self.parts[split][1]
        if len(files) < len(whole):
            raw = raw[[bisect_left(whole, file) for file in files]]
        return self._classes.numbers(raw)

    def pack(self) -> None:
        """Keep the names of the images in one piece of memory, once they have been gone through."""
        self.listing = replace(self.listing, images=Names(self.listing.images))
        self.parts = {split: (prefix, Names(files)) for split, (prefix, files) in self.parts.items()}

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Files that are no images, by suffix, with their count."""
        read = {self._file.path.rpartition("/")[2]} if self._file else set()
        read |= {STYLEGAN, os.path.basename(self._partition)}
        others = [name for name in self.listing.others if name.rpartition("/")[2] not in read]
        counts = Counter(os.path.splitext(name)[1].lower() or os.path.basename(name) for name in others)
        counts["hidden"] = len(self.listing.hidden)
        return {what: count for what, count in sorted(counts.items()) if count}

    @property
    def notes(self) -> list[str]:
        """What a user should know of the names, a sentence each."""
        told = []
        if self._empty_folders:
            told.append(f"no image that can be read in the folder {listed(self._empty_folders)}")
        if repeated := self.listing.repeated:
            told.append(f"several entries of one name in the archive, of which the last counts: {listed(repeated)}")
        if self._chunked:
            told.append("folders of five digits through which files are numbered on are no classes (labels='folders')")
        missing = self._missing()
        if missing:
            told.append(f"{len(missing)} labels are of files that are not there ({listed(missing)})")
        if self._unlisted:
            told.append(f"{self._unlisted} lines of {self._partition} are of files that are not there")
        return told

    def _missing(self) -> list[str]:
        """Names in the files of labels that no picture has."""
        files: dict[str, LabelFile | None] = {"": self._file}
        if self._beside:
            files = {self.parts[split][0]: file for split, file in self._beside.items()}
        named = [prefix + name for prefix, file in files.items() if file is not None for name in file.names or ()]
        if len(named) <= len(self.listing.images):  # else a picture would be without a label
            return []
        there = {*self.listing.images, *(os.path.splitext(name)[0] for name in self.listing.images)}
        if self._file is not None and self._file.bare:
            there |= {name.rpartition("/")[2] for name in self.listing.images}
        return [name for name in named if name not in there and os.path.splitext(name)[0] not in there]

    @cached_property
    def _empty_folders(self) -> list[str]:
        """Folders in the place of classes or splits without any image that could be read."""
        depths = (1, 2) if self.divided else (1,)
        full, others = (
            {"/".join(name.split("/")[:depth]) for name in names for depth in depths if name.count("/") >= depth}
            for names in (self.listing.images, self.listing.others)
        )
        return sorted(others - full)

    def _divide(self) -> dict[Split, tuple[str, Sequence[str]]]:
        """Prefix and relative paths of each split on disk; only train where root is not divided."""
        if self._partition:
            return self._parts_of_file()
        images = self.listing.images
        tops = sorted({name.partition("/")[0] for name in images if "/" in name})
        found = splits_named(tops, self.root)
        whole: dict[Split, tuple[str, Sequence[str]]] = {"train": ("", images)}
        if not found:
            self._refuse_splits_below()
            return whole
        rest = [name for name in tops if split_named(name) is None]
        loose = next((name for name in images if "/" not in name), None)
        if rest or loose is not None:
            if set(found) == {"train"} and self._is_class(found["train"]) and loose is None:
                return whole
            others = ", ".join(rest[:3]) + (", …" if len(rest) > 3 else "") if rest else f"the picture {loose}"
            raise ValueError(
                f"{self.root}: {', '.join(sorted(found.values()))} beside {others}: are these splits or classes? "
                "Move what is no split out of the folder, or give splits='none' to take every folder as a class"
            )
        prefixes = {split: f"{name}/" for split, name in found.items()}
        return {
            split: (prefixes[split], [name[len(prefixes[split]) :] for name in images if name.startswith(prefix)])
            for split in SPLITS
            if (prefix := prefixes.get(split)) is not None
        }

    def _parts_of_file(self) -> dict[Split, tuple[str, Sequence[str]]]:
        """The same by a file that says the split of each image, by its path or by its name alone."""
        told = read_partition(self._content(self._partition, "splits", "'auto', 'none'"), self._partition)
        parts: dict[Split, list[str]] = {split: [] for split in SPLITS if split in told.values()}
        for name in self.listing.images:
            split = told.get(name) or told.get(name.rpartition("/")[2])
            if split is None:
                raise ValueError(f"splits={self._partition!r}: no split of {name}")
            parts[split].append(name)
        self._unlisted = max(0, len(told) - len(self.listing.images))
        return {split: ("", names) for split, names in parts.items() if names}

    def _is_class(self, folder: str) -> bool:
        """Whether a folder ``train`` among others holds pictures of trains: at least not folders of its own."""
        return all(name.count("/") == 1 for name in self.listing.images if name.startswith(f"{folder}/"))

    def _refuse_splits_below(self) -> None:
        """Refuses folders of classes that divide into splits, which would all be trained on."""
        below: dict[str, dict[Split, str]] = {}
        for top, second in {tuple(name.split("/")[:2]) for name in self.listing.images if name.count("/") > 1}:
            if (split := split_named(second)) is not None:
                below.setdefault(top, {})[split] = second
        for top, found in sorted(below.items()):
            if "train" in found and len(found) > 1:
                raise ValueError(
                    f"{self.root}: {top} divides into {' and '.join(sorted(found.values()))}; give that folder as "
                    "root, put the splits above the classes, or give splits='none' to take them all for training"
                )

    def _label_files(self, labels: str) -> tuple[LabelFile | None, dict[Split, LabelFile]]:
        """The file of labels of all splits, and those that lie in the splits' own folders."""
        if labels in ("none", "folders"):
            return None, {}
        others = self.listing.others
        if labels == "auto":
            folders = {split: self.parts[split][0] for split in SPLITS if split in self.parts}
            found = {split: folder for split, folder in folders.items() if folder and folder + STYLEGAN in others}
            beside: dict[Split, LabelFile] = {s: self._read_labels(f + STYLEGAN) for s, f in found.items()}
            if beside and len(beside) < len(self.parts):
                raise ValueError(f"{self.root}: {STYLEGAN} lies in some splits' folders, but not in all")
            file = self._read_labels(STYLEGAN) if STYLEGAN in others else next(iter(beside.values()), None)
            return file, beside
        content = self._content(labels, "labels", "'auto', 'folders', 'none'")
        return LabelFile(content, labels, self.attributes), {}

    def _read_labels(self, name: str) -> LabelFile:
        return LabelFile(self._content(name), os.path.join(self.root, name), self.attributes)

    def _content(self, name: str, option: str = "", others: str = "") -> bytes:
        """A file below root, or anywhere if an option names it; `others` are the option's other values."""
        if name not in self.listing.others:
            if not Path(name).is_file():
                raise FileNotFoundError(f"{option}={name!r}: neither {others} nor a file, below root or elsewhere")
            return Path(name).read_bytes()
        path = os.path.join(self.root, name)
        if self.archive is None:
            return Path(path).read_bytes()
        with self.archive.open(name) as file:
            try:
                return file.read()
            except UNREADABLE as error:
                raise ValueError(f"{path}: can't be read: {error}") from error

    def _raw(self, split: Split) -> np.ndarray:
        """Labels of all images of a split, as its file says them."""
        if split not in self._labels:
            file = self._beside.get(split, self._file)
            assert file is not None
            prefix = "" if split in self._beside else self.parts[split][0]
            self._labels[split] = file.of([prefix + name for name in self.parts[split][1]])
        return self._labels[split]

    @cached_property
    def _classes(self) -> Classes:
        if not self._by_folder and (self._file is None or self._file.names is None):
            return Classes()
        if any(file.names is None for file in self._beside.values()):
            return Classes()
        if self._by_folder:
            folders = {file.split("/")[0] for _, files in self.parts.values() for file in files if "/" in file}
            loose = any("/" not in file for _, files in self.parts.values() for file in files)
            return Classes() if len(folders) < 2 or loose else Classes(in_order(folders))
        raw = [self._raw(split) for split in SPLITS if split in self.parts]
        assert self._file is not None
        names = self._file.class_names
        try:
            return Classes.of(raw, self.renumber, names, len(names))
        except ValueError as error:
            raise ValueError(f"{self._file.path}: {error}") from error

    def _check_strays(self) -> None:
        """Refuses images beside class folders, of which labels would be lost in silence."""
        names = [(folder, file) for folder, files in self.parts.values() for file in files]
        classes = {file.split("/")[0] for _, file in names if "/" in file}
        strays = [folder + file for folder, file in names if "/" not in file]
        if strays and len(classes) > 1:
            more = f" and {len(strays) - 1} more lie" if len(strays) > 1 else " lies"
            raise ValueError(
                f"{self.root}: {strays[0]}{more} beside the folders of the {len(classes)} classes; move what is no "
                "class out of the folder, or give labels='none'"
            )

    def _numbered_on(self) -> bool:
        """Whether folders of five digits only keep folders small: numbers go on from each to the next."""
        last = -1
        for _, files in self.parts.values():
            for file in files:
                parts, number = file.split("/"), re.search(r"\d+(?=\.[^.]*$)", file)
                if len(parts) != 2 or not re.fullmatch(r"\d{5}", parts[0]) or number is None:
                    return False
                if int(number[0]) <= last:
                    return False
                last = int(number[0])
            last = -1
        return True
