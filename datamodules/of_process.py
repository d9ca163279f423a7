"""What is open in one process alone: files that a fork must not share, and that can't be pickled."""

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class OfProcess(Generic[T]):
    """Makes a value at its first use in each process. A fork leaves its parent's alone; none is pickled.

    Args:
        make: gives the value; is pickled itself.
    """

    def __init__(self, make: Callable[[], T]):
        self._make = make
        self._process = -1
        self._value: T | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_make": self._make, "_process": -1, "_value": None}

    @property
    def value(self) -> T:
        """This process's own."""
        if self._value is None or self._process != os.getpid():
            self._value, self._process = self._make(), os.getpid()
        return self._value

    def drop(self) -> T | None:
        """Forget the value, which the next use makes anew; this process's own if it has one."""
        value = self._value if self._process == os.getpid() else None
        self._value = None
        return value


def kept(
    held: OrderedDict[K, T], key: K, most: int, make: Callable[[], T], drop: Callable[[T], Any] | None = None
) -> T:
    """The value of a key, made where it isn't held; `held` keeps the ones that were used last.

    Args:
        held: values in the order of their use.
        key: of the value.
        most: values that are held.
        make: gives the value.
        drop: ends one that gives way.
    """
    value = held.pop(key, None)
    if value is None:
        value = make()
        while len(held) >= most:
            _, last = held.popitem(last=False)
            if drop is not None:
                drop(last)
    held[key] = value
    return value
