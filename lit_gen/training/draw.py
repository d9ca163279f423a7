"""What one update depends on, by name and a row a sample."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor
from typing_extensions import Self


@dataclass(frozen=True)
class Draw:
    """Real images, labels, noise and all other random numbers of one update, drawn before its objective runs.

    A procedure derives a frozen dataclass with a field for each; None where an option has no use for one. Its tensors
    have a row for each sample: a batch is split into parts by rows, and a fault names the field. The first one's rows
    are counted as the update's samples.
    """

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The inputs by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        first: Tensor = next(value for value in vars(self).values() if isinstance(value, Tensor))
        return first.shape[0]

    def parts(self, count: int) -> Iterator[Self]:
        """The draw in at most ``count`` parts, in their order."""
        if count == 1:
            yield self
            return
        tensors = self.tensors
        for part in zip(*(in_parts(tensor, count) for tensor in tensors.values()), strict=True):
            yield replace(self, **dict(zip(tensors, part, strict=True)))

    def given_to(self, objective: Callable[..., Any]) -> Any:
        """The objective's value."""
        return objective(self)

    def take_back(self) -> None:
        """Undo what making the draw has changed; called if its update is left out."""


@dataclass(frozen=True)
class Arguments(Draw):
    """Inputs of an objective that takes them one by one; its parameters name them, further ones are labels."""

    objective: Callable[..., Any]
    inputs: tuple[Tensor, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The inputs by the names of the objective's parameters."""
        positional = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
        known = [name for name, p in inspect.signature(self.objective).parameters.items() if p.kind in positional]
        names = [*known, "labels", *(f"labels {i}" for i in range(2, len(self.inputs) + 1))]
        return dict(zip(names, self.inputs, strict=False))

    def __len__(self) -> int:
        return len(self.inputs[0])

    def parts(self, count: int) -> Iterator[Self]:
        """The inputs in at most ``count`` parts each."""
        if count == 1:
            yield self
            return
        for part in zip(*(in_parts(tensor, count) for tensor in self.inputs), strict=True):
            yield replace(self, inputs=part)

    def given_to(self, objective: Callable[..., Any]) -> Any:
        """The objective's value."""
        return objective(*self.inputs)


def in_parts(x: Tensor, count: int) -> list[Tensor]:
    """Rows in at most ``count`` parts; a last single row stays with those before it: batch norm can't take it alone."""
    parts = list(x.chunk(count))
    if len(parts) > 1 and len(parts[-1]) == 1 < len(parts[-2]):
        size = len(parts[0])
        parts = [*parts[:-2], x[size * (len(parts) - 2) :]]
    return parts
