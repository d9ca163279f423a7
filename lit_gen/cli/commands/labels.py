"""Classes as a command line says them, and the labels of data as those of a model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.summary import listed
from lit_gen.cli.words import note
from lit_gen.models.class_names import class_number, numbered, printable


def labels_said(words: Sequence[str] | None, module: Any, source: str) -> list[int] | None:
    """The classes that ``--labels`` says by names or numbers; says so where a name looks like another's number.

    Raises:
        ValueError: for an unconditional model, or a class that it doesn't have.
    """
    if words is None:
        return None
    if not getattr(module, "conditional", False):
        raise ValueError(f"--labels [{', '.join(words)}]: the {type(module).__name__} of {source} is unconditional")
    try:
        found = [class_number(word, module.class_names) for word in words]
    except ValueError as error:
        raise ValueError(f"--labels={' '.join(words)}: {source}: {error}") from None
    for word, number in dict(zip(words, found, strict=True)).items():
        if word.isdecimal() and int(word) != number:
            note(f"note: --labels {word}: the class that is called {word}, number {number} of {source}")
    return found


def labels_for(module: Any, data: Any, path: str) -> Tensor | None:
    """The model's class of each class of data ``(K,)``, by its name; None for an unconditional model.

    Where one side has nothing but numbers, the classes are taken in their order, which is said.

    Raises:
        ValueError: data without labels, or classes that the model hasn't learned.
    """
    if not getattr(module, "conditional", False):
        return None
    own, given = tuple(module.class_names), tuple(data.class_names)
    kind = type(module).__name__
    if not given:
        raise ValueError(f"{path}: no labels, and a conditional {kind} needs the class of each image")
    if set(given) <= set(own):
        return torch.tensor([own.index(name) for name in given])
    if (own == numbered(len(own)) and len(given) == len(own)) or (
        given == numbered(len(given)) and len(given) <= len(own)
    ):
        named = given if own == numbered(len(own)) else own
        note(f"note: the labels of {path} are taken as the {kind}'s classes in their order, {listed(named)}")
        return torch.arange(len(given))
    strange = [printable(name) for name in given if name not in own]
    raise ValueError(f"{path}: the classes {listed(strange)} are none of the {kind}'s ({listed(own)})")
