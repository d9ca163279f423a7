"""Images of two domains with counterparts: folders by name, pictures side by side, or arrays by position."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_warn

from datamodules.arrays import ArrayDataModule
from datamodules.datasets import SPLITS, BatchDataset, Split
from datamodules.domains import Domains
from datamodules.formats.containers import is_array_file
from datamodules.image_files import HalfImageFiles, ImageFiles
from datamodules.image_folder import ImageFolderDataModule
from datamodules.image_tree import ImageTree
from datamodules.pixel_values import Reading
from datamodules.summary import Found, joined, listed, look_at_files
from datamodules.two_domains import TwoDomains

SIDE = 256  # of files' images, the papers'
WIDE = 1.5  # width over height from which a picture is taken for two without a word
TOLERANCE = 0.02  # of the ratio of counterparts' sides, which rounding changes where one is a reduced picture


class PairedDataModule(TwoDomains):
    """Pairs of images, for `Pix2Pix`. Counterparts are cropped and mirrored alike, and stay in one split.

    What ``a`` and ``b`` may be:
        * two folders, or .zips, whose files have the same names but for their suffixes, ``a/x/1.jpg`` and
          ``b/x/1.png``;
        * one folder, or .zip, of pictures that show both images side by side, as pix2pix's own data sets;
        * two files of arrays (.npz, .npy, .h5, ...), or one with arrays ending in ``A`` and in ``B``: image i of one
          belongs to image i of the other, in what `ArrayDataModule` reads.

    Splits are folders train, val and test, or shares, as in `ImageFolderDataModule` and `ArrayDataModule`.

    Args:
        a: images of domain a, or of both.
        b: images of domain b; None if ``a`` holds them too.
        image_size: side of files' images, or (height, width), which they are scaled and centre-cropped to; None for
            256. Arrays have their own.
        channels_a: of files' images of domain a, 3 for RGB or 1 for grey; arrays have their own.
        channels_b: of those of domain b.
        left: the domain on the left of pictures side by side.
        val_share: share of pairs for validation where there is no such split; 0 for none.
        test_share: share of pairs for the test split where there is no such split; 0 for none.
        follow_links: read what links lead to outside of the folders; they are refused otherwise.
        **kwargs: load_size, predict_domain, predict_folder and predict_crop of `TwoDomains`; batch_size, num_workers,
            flip, seed and the loader's options of `DataModule`.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: options that don't belong to what is read, a file and a folder, images without a counterpart, or
            arrays of other heights, widths or numbers.
    """

    paired = pairs = True
    num_classes = 0

    def __init__(
        self,
        a: str,
        b: str | None = None,
        image_size: int | tuple[int, int] | None = None,
        channels_a: Literal[1, 3] = 3,
        channels_b: Literal[1, 3] = 3,
        left: Literal["a", "b"] = "a",
        val_share: float = 0.1,
        test_share: float = 0.1,
        follow_links: bool = False,
        **kwargs: Any,
    ):
        a, b = os.fspath(a), None if b is None else os.fspath(b)
        super().__init__(**kwargs)
        if left not in ("a", "b"):
            raise ValueError(f"left={left!r}: must be 'a' or 'b'")
        if left == "b" and b is not None:
            raise ValueError(f"left={left!r}: of pictures side by side, but b={b!r} holds domain b")
        for name, path in {"a": a, "b": b}.items():
            if path is not None and not os.path.exists(path):
                raise FileNotFoundError(f"{name}: there is no file or folder {path!r}")
        shares: dict[str, Any] = {"val_share": val_share, "test_share": test_share}
        self.left, self.links = left, follow_links
        self.b_root: str | None = None
        self.b: ArrayDataModule | None = None
        self.a: Any  # an ArrayDataModule beside b, else an ImageFolderDataModule
        if is_array_file(a):
            if b is not None and not is_array_file(b):
                raise ValueError(f"a={a!r}, b={b!r}: two files of arrays, or two folders")
            if image_size is not None:
                raise ValueError(f"image_size={image_size}: arrays have the size that they have")
            endings = ("", "") if b is not None else ("A", "B")
            self.a, self.b = (ArrayDataModule(p, ending=e, **shares) for p, e in zip((a, b or a), endings, strict=True))
            for name, channels, arrays in (("a", channels_a, self.a), ("b", channels_b, self.b)):
                if channels == 1 != arrays.image_shape[0]:
                    raise ValueError(f"channels_{name}={channels}: arrays have their own, {arrays.image_shape[0]} here")
            if self.a.image_shape[1:] != self.b.image_shape[1:]:
                raise ValueError(f"a={a!r}, b={b!r}: images of {self.a.image_shape} and {self.b.image_shape}")
            self._target = self.b.image_shape
        else:
            if b is not None and is_array_file(b):
                raise ValueError(f"a={a!r}, b={b!r}: two files of arrays, or two folders")
            if channels_b not in (1, 3):
                raise ValueError(f"channels_b={channels_b}: must be 1 (grey) or 3 (RGB)")
            size = SIDE if image_size is None else image_size
            options: dict[str, Any] = {"labels": "none", "follow_links": follow_links, **shares}
            self.a, self.b_root = ImageFolderDataModule(a, size, channels_a, **options), b
            self._target = (int(channels_b), *self.a.image_shape[1:])
        self.name = name_of(a) if b is None else f"{name_of(a)}2{name_of(b)}"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of domain a."""
        return self.a.image_shape

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(C, H, W) of domain b."""
        return tuple(self._target)

    @property
    def _predict_reading(self) -> Reading:
        return self.a.reading if isinstance(self.a, ImageFolderDataModule) else super()._predict_reading

    def read_domains(self) -> dict[Split, Domains]:
        """Finds the counterparts.

        Raises:
            ValueError: files without one, or of another shape than theirs.
        """
        if self.b is not None:
            return {split: Domains(self.a.dataset(split), self.b.dataset(split)) for split in SPLITS}
        files: dict[Split, Any] = {split: self.a.dataset(split) for split in SPLITS}
        if self.b_root is None:
            self._look_at_halves(files["train"])
            return {split: self._halves(part) for split, part in files.items()}
        counterparts = self._counterparts(self.b_root)
        return {split: Domains(part, self._of_b(part, counterparts)) for split, part in files.items()}

    def _look_at_halves(self, files: ImageFiles) -> None:
        """Warn where the first picture is hardly wide enough to be two."""
        height, width = files.upright_size(0) if len(files) else (1, 2)
        if width < WIDE * height:
            rank_zero_warn(
                f"b is not given, so that pictures of a={str(self.a.root)!r} are cut into a left and a right half, and "
                f"{files.described(0)} is {width} x {height}; give b if its images lie elsewhere"
            )

    def _halves(self, files: ImageFiles) -> Domains:
        def half(shape: tuple[int, ...], right: bool) -> BatchDataset:
            common: dict[str, Any] = {"reading": files.reading, "archive": files.archive}
            return HalfImageFiles(right=right, paths=files.paths, labels=files.labels, image_shape=shape, **common)

        return Domains(half(self.image_shape, self.left == "b"), half(self.target_shape, self.left == "a"))

    def _counterparts(self, root: str) -> tuple[ImageTree, dict[str, str]]:
        """The tree of domain b, and its files by their names without suffix; all files of a have one among them."""
        tree = ImageTree(root, labels="none", splits="none", follow_links=self.links)
        of_a, of_b = by_stem(self.a.tree.listing.images, self.a.root), by_stem(tree.listing.images, root)
        for some, others, own, other in ((of_a, of_b, self.a.root, root), (of_b, of_a, root, self.a.root)):
            alone = [some[stem] for stem in some if stem not in others]
            if alone:
                raise ValueError(f"{own}: {listed(alone)} without a file of that name in {other}")
        return tree, of_b

    def _of_b(self, files: ImageFiles, counterparts: tuple[ImageTree, dict[str, str]]) -> ImageFiles:
        tree, names = counterparts
        shape: Any = self.target_shape
        inside = [path if files.archive else os.path.relpath(path, self.a.root) for path in files.paths]
        paths = [tree.path("train", names[stem_of(name)]) for name in inside]
        found = ImageFiles(paths, files.labels, shape, files.reading, tree.archive)
        for i in range(len(files)):
            check_ratio(files, found, i)
        return found

    def found(self, look: int | None) -> Found:
        """What both domains' readers find."""
        if self.b is not None:
            return joined({"a": self.a.found(look), "b": self.b.found(look)})
        if self.b_root is None:
            return self.a.found(look)
        tree = ImageTree(self.b_root, labels="none", splits="none", follow_links=self.links)
        of_b: list[Any] = [self.dataset(split).b for split in SPLITS]  # type: ignore[attr-defined]
        return joined({"a": self.a.found(look), "b": look_at_files(of_b, tree.left_out, tree.notes, look)})


def name_of(path: str) -> str:
    """A folder's name, or a file's without its suffix."""
    place = Path(path).resolve()
    return place.stem if place.is_file() else place.name


def stem_of(name: str) -> str:
    """A file's name below its root without its suffix."""
    return os.path.splitext(name)[0].replace(os.sep, "/")


def by_stem(names: Iterable[str], root: str) -> dict[str, str]:
    """Files by their names without suffix.

    Raises:
        ValueError: two of one name.
    """
    found: dict[str, str] = {}
    for name in names:
        if (stem := stem_of(name)) in found:
            raise ValueError(f"{root}: {found[stem]} and {name} have one name but for the suffix")
        found[stem] = name
    return found


def check_ratio(a: ImageFiles, b: ImageFiles, i: int) -> None:
    """Refuse counterparts that can't show the same, cropped as they would be.

    Raises:
        ValueError: naming both.
    """
    sizes = [files.upright_size(i) for files in (a, b)]
    ratios = [height / width for height, width in sizes]
    if abs(ratios[0] / ratios[1] - 1) > TOLERANCE:
        told = [f"{files.described(i)} is {size[1]} x {size[0]}" for files, size in zip((a, b), sizes, strict=True)]
        raise ValueError(f"{' and '.join(told)}: counterparts must have one ratio of width to height")
