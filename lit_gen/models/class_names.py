"""Names of a conditional model's classes: labels that are given by them, and data that name theirs otherwise."""

import difflib
from collections.abc import Sequence

TOLD = 20  # names that an error lists


def numbered(count: int) -> tuple[str, ...]:
    """What classes are called whose names nobody knows."""
    return tuple(map(str, range(count)))


def class_number(label: int | str, names: Sequence[str]) -> int:
    """The class that a label means: a number from 0, or a name; a word that is a name means the class of this name.

    Args:
        label: The number, or the name or number as a word.
        names: Of all classes, in the order of their numbers.

    Raises:
        ValueError: naming what is spelled alike, or what there is.
    """
    if isinstance(label, str):
        if label in names:
            return list(names).index(label)
        if not (label.isascii() and label.removeprefix("-").isdigit()):
            folded = {name.casefold(): name for name in names}
            close = [folded[name] for name in difflib.get_close_matches(label.casefold(), folded, 3, 0.6)]
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise ValueError(f"no class {label!r}; {hint}there are {enumerated(names)}")
        label = int(label)
    if not 0 <= label < len(names):
        told = "" if tuple(names) == numbered(len(names)) else f": {enumerated(names)}"
        raise ValueError(f"no class {label}; the classes are from 0 to {len(names) - 1}{told}")
    return label


def enumerated(names: Sequence[str]) -> str:
    """``0 cat, 1 dog``; of mere numbers only the first and the last."""
    if tuple(names) == numbered(len(names)):
        return f"0 to {len(names) - 1}" if len(names) > 1 else "0"
    more = f", … ({len(names)})" if len(names) > TOLD else ""
    return ", ".join(f"{i} {printable(name)}" for i, name in enumerate(names[:TOLD])) + more


def printable(name: str) -> str:
    """A name in one line that any file and terminal takes."""
    kept = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in kept)


def check_names(known: Sequence[str], given: Sequence[str], model: str, data: str) -> str:
    """Compare the classes that a model has learned with those of data, of as many.

    Args:
        known: Names of the model's classes.
        given: Names of the data's.
        model: What the model is called in the messages.
        data: What the data are called.

    Returns:
        A warning where it can't be known that the classes are the same, else nothing.

    Raises:
        ValueError: a class that both name has another number in the data.
    """
    if not known or not given or tuple(known) == tuple(given):
        return ""
    mere = numbered(len(known))
    if mere in (tuple(known), tuple(given)):
        named, other = (data, model) if tuple(known) == mere else (model, data)
        return (
            f"the classes of {other} have no names but their numbers; they are taken to be those of {named} in their "
            f"order: {enumerated(given if named == data else known)}"
        )
    place = {name: i for i, name in enumerate(known)}
    for i, name in enumerate(given):
        if place.get(name, i) != i:
            raise ValueError(
                f"the class {printable(name)!r} is number {place[name]} of {model} ({enumerated(known)}), and number "
                f"{i} of {data} ({enumerated(given)}); number the classes of the data as the model's"
            )
    changed = [i for i, (old, new) in enumerate(zip(known, given, strict=True)) if old != new]
    told = ", ".join(f"{i} is {printable(given[i])!r}, was {printable(known[i])!r}" for i in changed[:TOLD])
    return f"classes of {data} have other names than those of {model}: {told}"
