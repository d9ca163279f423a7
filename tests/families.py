"""What the tests of a family share: who is missing from its list, and what all objects described by options promise."""

import dataclasses
import functools
import inspect
import json
import math
from types import ModuleType
from typing import Any

import pytest

from lit_gen.pretrained.specification import build, describe


def unlisted(package: ModuleType, base: type, entries: list[Any]) -> list[str]:
    """Names of the public concrete classes of `base` that no entry (instance, class or partial of one) belongs to."""
    made = (entry.func if isinstance(entry, functools.partial) else entry for entry in entries)
    listed = {entry if isinstance(entry, type) else type(entry) for entry in made}
    public = [getattr(package, name) for name in package.__all__]
    classes = {thing for thing in public if isinstance(thing, type) and issubclass(thing, base)}
    return sorted(kind.__name__ for kind in classes - listed - {base} if not inspect.isabstract(kind))


def assert_is_a_frozen_value(entry: Any) -> None:
    """A frozen dataclass, equal and hashed by value, that comes back equal from its description as JSON."""
    assert dataclasses.replace(entry) == entry
    assert hash(dataclasses.replace(entry)) == hash(entry)
    for field in dataclasses.fields(entry):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(entry, field.name, getattr(entry, field.name))
    description = json.loads(json.dumps(describe(entry)))
    rebuilt = build(description["class_path"], description["init_args"])
    assert type(rebuilt) is type(entry)
    assert rebuilt == entry


def assert_bad_options_are_named(entry: Any) -> None:
    """Every number that is NaN or negative, and every unknown name, is refused in one line with name and value."""
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            continue
        bad = math.nan if isinstance(value, float) else -1 if isinstance(value, int) else "unknown"
        with pytest.raises(ValueError, match=f"{field.name}={bad!r}") as error:
            dataclasses.replace(entry, **{field.name: bad})
        assert "\n" not in str(error.value)
