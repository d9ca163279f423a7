"""Attributes of which an image has any number, and the classes that some of them make."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST = 12  # attributes, whose combinations are 4,096 classes


@dataclass(frozen=True)
class Attributes:
    """Attributes that make the classes, by name: each combination of having and not having them is one.

    Args:
        chosen: their names; none where labels are classes.

    Raises:
        ValueError: too many, or one twice.
    """

    chosen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.chosen) > MOST:
            raise ValueError(f"{self}: {len(self.chosen)} make {2 ** len(self.chosen):,} classes; at most {MOST}")
        if len(set(self.chosen)) < len(self.chosen):
            raise ValueError(f"{self}: each may be named once")

    @classmethod
    def of(cls, names: Sequence[str] | str | None) -> "Attributes":
        """Those of an option: a list, a single name, or None."""
        return cls(() if names is None else (names,) if isinstance(names, str) else tuple(map(str, names)))

    def __str__(self) -> str:
        return f"attributes={list(self.chosen)}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """``not A and not B``; ``not A and B``; ``A and not B``; ``A and B``: the first attribute counts most."""
        if not self.chosen:
            return ()
        words = ((f"not {name}", name) for name in self.chosen)
        return tuple(map(" and ".join, itertools.product(*words)))

    def numbers(self, rows: np.ndarray, names: Sequence[str], what: str) -> np.ndarray:
        """Number of each row's class (N,), int64.

        Args:
            rows: 1 where an image has an attribute, 0 or -1 where not (N, A).
            names: of the attributes; without any they are called by their numbers.
            what: the rows' name in the error message.

        Raises:
            ValueError: no such attribute, another number of names, or other values.
        """
        names = named(names, rows.shape[1], what)
        for name in self.chosen:
            if name not in names:
                raise ValueError(f"{self}: {what} has no {name!r}; there are {', '.join(names)}")
        if not is_binary(rows):
            raise ValueError(f"{what}: attributes are 1 where an image has them, and 0 or -1 where not")
        has = rows[:, [names.index(name) for name in self.chosen]] > 0
        return has.astype(np.int64) @ (1 << np.arange(len(self.chosen))[::-1])

    def refusal(self, rows: np.ndarray, names: Sequence[str], what: str) -> ValueError:
        """The error for rows that are no classes, where none were chosen."""
        told = ", ".join(named(names, rows.shape[1], what))
        return ValueError(
            f"{what}: {rows.shape[1]} attributes, of which an image has any number, are no classes; "
            f"attributes=[...] makes some of them classes: {told}"
        )


def named(names: Sequence[str], count: int, what: str) -> list[str]:
    """The attributes' names, by default their numbers."""
    if names and len(names) != count:
        raise ValueError(f"{what}: {count} attributes, but {len(names)} names of them")
    return list(names) or list(map(str, range(count)))


def is_one_hot(rows: np.ndarray) -> bool:
    """Whether each of some rows (N, K) is a single 1 among zeros."""
    return bool(((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all())


def is_binary(rows: np.ndarray) -> bool:
    """Whether all values are 1, or 0 or -1."""
    return bool(np.isin(rows, (-1, 0, 1)).all())
