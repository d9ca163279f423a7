"""The data sets of torchvision that have a class for each picture: how each is asked for its splits and labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datamodules.datasets import Split

Splits = Mapping[Split, Mapping[str, Any]]  # arguments of torchvision's class for each official split


@dataclass(frozen=True)
class VisionSet:
    """How a class of torchvision is used.

    Args:
        variants: the official splits of each variant; the first is the default, called ``""`` where there is one.
        classes: their number, or names that the files don't say; by variant where they differ; 0 without labels.
        labels: its attribute with the labels, or with pairs of a path and a label.
        shape: (C, H, W) of images of one size, which are in its attribute ``data``; None for pictures of any sizes.
        by_class: whether the training images lie in the order of their classes, so that what is cut off is drawn.
        first: the least label.
        turned: whether rows and columns are exchanged.
        alone: whether torchvision can't download it.
    """

    variants: Mapping[str, Splits]
    classes: int | tuple[str, ...] | Mapping[str, int | tuple[str, ...]]
    labels: str = "targets"
    shape: tuple[int, int, int] | None = None
    by_class: bool = False
    first: Mapping[str, int] | None = None
    turned: bool = False
    alone: bool = False


def _by_flag(**more: Any) -> Splits:
    return {"train": {"train": True, **more}, "test": {"train": False, **more}}


def _by_word(argument: str = "split", train: str = "train", val: str = "", test: str = "test", **more: Any) -> Splits:
    words: dict[Split, str] = {"train": train, "val": val, "test": test}
    return {split: {argument: word, **more} for split, word in words.items() if word}


def _plain(splits: Splits, classes: int | tuple[str, ...], labels: str = "targets", **more: Any) -> VisionSet:
    return VisionSet({"": splits}, classes, labels, **more)


GREY, COLOUR, STL, USPS = (1, 28, 28), (3, 32, 32), (3, 96, 96), (1, 16, 16)
DIGITS, UPPER, LOWER = map(tuple, ("0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"))
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
MERGED = (*DIGITS, *UPPER, *"abdefghnqrt")  # lower-case letters that look like the upper-case ones are those
EMNIST = {"byclass": (*DIGITS, *UPPER, *LOWER), "bymerge": MERGED, "balanced": MERGED, "letters": LOWER}
EMNIST |= {"digits": DIGITS, "mnist": DIGITS}
UNLABELLED = ("unlabeled", "train+unlabeled")
WHOLE: Splits = {"train": {}}

SETS: dict[str, VisionSet] = {
    "MNIST": _plain(_by_flag(), DIGITS, shape=GREY),
    "FashionMNIST": _plain(_by_flag(), FASHION, shape=GREY),
    "KMNIST": _plain(_by_flag(), KANA, shape=GREY),
    "EMNIST": VisionSet(
        {name: _by_flag(split=name) for name in ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")},
        EMNIST,
        shape=GREY,
        first={"letters": 1},
        turned=True,
    ),
    "QMNIST": VisionSet(
        {test: _by_word("what", test=test) for test in ("test", "test10k", "test50k")}, DIGITS, shape=GREY
    ),
    "USPS": _plain(_by_flag(), DIGITS, shape=USPS),
    "SEMEION": _plain(WHOLE, DIGITS, "labels", shape=USPS, by_class=True),
    "SVHN": VisionSet({train: _by_word(train=train) for train in ("train", "extra")}, DIGITS, "labels", shape=COLOUR),
    "CIFAR10": _plain(_by_flag(), 10, shape=COLOUR),
    "CIFAR100": _plain(_by_flag(), 100, shape=COLOUR),
    "STL10": VisionSet(
        {train: _by_word(train=train) for train in ("train", *UNLABELLED)},
        {"train": 10, **dict.fromkeys(UNLABELLED, 0)},
        "labels",
        shape=STL,
    ),
    "CelebA": _plain(_by_word(val="valid"), 0, "attr"),
    "Caltech101": _plain(WHOLE, 101, "y", by_class=True),
    "Caltech256": _plain(WHOLE, 257, "y", by_class=True),
    "Country211": _plain(_by_word(val="valid"), 211),
    "DTD": _plain(_by_word(val="val"), 47, "_labels"),
    "EuroSAT": _plain(WHOLE, 10, by_class=True),
    "FGVCAircraft": VisionSet(
        {level: _by_word(val="val", annotation_level=level) for level in ("variant", "family", "manufacturer")},
        {"variant": 100, "family": 70, "manufacturer": 41},
        "_labels",
    ),
    "Flowers102": _plain(_by_word(val="val"), 102, "_labels"),
    "Food101": _plain(_by_word(), 101, "_labels", by_class=True),
    "GTSRB": _plain(_by_word(), 43, "_samples", by_class=True),
    "ImageNet": _plain(_by_word(test="val"), 1000, by_class=True, alone=True),
    "Imagenette": _plain(_by_word(test="val"), 10, "_samples", by_class=True),
    "OxfordIIITPet": _plain(_by_word(train="trainval"), 37, "_labels", by_class=True),
    "RenderedSST2": _plain(_by_word(val="val"), ("negative", "positive"), "_samples"),
    "StanfordCars": _plain(_by_word(), 196, "_samples", by_class=True, alone=True),
    "SUN397": _plain(WHOLE, 397, "_labels", by_class=True),
}


def vision_set(name: str) -> str:
    """The name as it is spelled in `SETS`.

    Raises:
        ValueError: a name that torchvision doesn't have, or that holds no pictures of one class each.
    """
    import torchvision

    spelled = {known.casefold(): known for known in SETS}
    if name.casefold() in spelled:
        return spelled[name.casefold()]
    known = name in torchvision.datasets.__all__
    why = "torchvision's set of that name is not read, since it has no class for each picture" if known else "unknown"
    if name.casefold() == "lsun":
        why = "torchvision's reader of it unpickles a file of the working folder; give its pictures as a folder"
    raise ValueError(f"name={name!r}: {why}; accepted are {', '.join(SETS)}")
