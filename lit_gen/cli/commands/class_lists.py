"""One list of classes for both sides of a comparison: names say which class is which, never the order of folders."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from datamodules.labels import GAPS
from datamodules.summary import listed


@dataclass(frozen=True)
class Labels:
    """The classes of one side.

    Args:
        path: names the side in messages.
        names: of its labels 0 to K − 1; empty without labels.
        named: whether these are the data's own names, as those of folders; else they only count the labels.
        occurring: the labels that there are; None for all.
        drawn: samples of a model, whose classes can be chosen.
    """

    path: str
    names: tuple[str, ...] = ()
    named: bool = False
    occurring: tuple[int, ...] | None = None
    drawn: bool = False

    def there(self, names: Sequence[str]) -> list[str]:
        """Which of other names for the labels 0 to K − 1 belong to labels that occur."""
        return [name for i, name in enumerate(names) if self.occurring is None or i in self.occurring]


@dataclass(frozen=True)
class ClassList:
    """The list that both sides' labels are numbered by.

    Attributes:
        names: of the classes; empty if no side has labels.
        real: place in the list of each real label ``(K,)``.
        generated: the same of each generated label; −1 for those that are not drawn.
        known: whether they are also the classifier's classes, in its order.
        notes: what was assumed or left out, for the user.
    """

    names: tuple[str, ...] = ()
    real: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    generated: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    known: bool = False
    notes: tuple[str, ...] = ()


def one_list(
    real: Labels, generated: Labels, classifier: Sequence[str] = (), num_scores: int | None = None
) -> ClassList:
    """Number the classes of both sides, and if possible of the classifier, alike.

    Whole numbers are those numbers, other names themselves. Labels without names stand for the places in the other
    side's list where that is as long, which is noted.

    Args:
        real: labels of the real images.
        generated: labels of the generated ones; they may be fewer, but no others.
        classifier: names of the extractor's class scores, if it says any.
        num_scores: their number; None for extractors that don't classify.

    Raises:
        ValueError: generated classes that are none of the real ones.
    """
    notes: list[str] = []
    real_names, made_names = _whole(real.names), _whole(generated.names)
    if real_names and made_names:
        real_names, made_names = _by_place(real, generated, real_names, made_names, notes)
        left_out = _check_strange(real, generated, real_names, made_names, notes)
        made_names = tuple("" if name in left_out else name for name in made_names)
        missing = [name for name in real.there(real_names) if name not in generated.there(made_names)]
        if missing:
            notes.append(f"{generated.path} has no images of the classes {listed(missing)}")
    sides = [name for name in dict.fromkeys((*(real_names or made_names), *real_names)) if name]
    names, known = _of_classifier(sides, real.named or generated.named, tuple(classifier), num_scores)
    place = {name: i for i, name in enumerate(names)}
    first, second = (
        torch.tensor([place.get(name, -1) for name in of], dtype=torch.int64) for of in (real_names, made_names)
    )
    return ClassList(names, first, second, known, tuple(notes))


def _whole(names: Sequence[str]) -> tuple[str, ...]:
    """Names, those of whole numbers in their shortest form if all are and they stay different."""
    if not all(_is_whole(name) for name in names):
        return tuple(names)
    shortest = tuple(str(int(name)) for name in names)
    return shortest if len(set(shortest)) == len(names) else tuple(names)


def _is_whole(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _by_place(
    real: Labels, made: Labels, real_names: tuple[str, ...], made_names: tuple[str, ...], notes: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names for labels that are mere numbers and can't be the other side's: those at their places in its list."""
    if real.named == made.named or set(made.there(made_names)) <= set(real_names):
        return real_names, made_names
    if set(real_names) <= set(made_names) and made.drawn:
        return real_names, made_names
    names, numbers = (real_names, made) if real.named else (made_names, real)
    numbered = all(map(_is_whole, names))
    if len(numbers.names) > len(names) or ((numbers.drawn or numbered) and len(numbers.names) != len(names)):
        if numbered:
            return real_names, made_names
        raise ValueError(
            f"{numbers.path} numbers {len(numbers.names)} classes, and the other side names {len(names)}: "
            f"{listed(names)}; which is which?"
        )
    told = ", ".join(f"{i} {name}" for i, name in enumerate(names[:3])) + (", …" if len(names) > 3 else "")
    notes.append(f"the labels of {numbers.path} are taken as places in the other side's list of classes: {told}")
    taken = names[: len(numbers.names)]
    return (names, taken) if real.named else (taken, names)


def _check_strange(
    real: Labels, made: Labels, real_names: tuple[str, ...], made_names: tuple[str, ...], notes: list[str]
) -> set[str]:
    """Classes of a model that are none of the real images', and are not drawn; of other samples they are an error."""
    there = set(real.there(real_names))
    strange = [name for name in made.there(made_names) if name not in there]
    if strange and made.drawn and len(strange) < len(made_names):
        notes.append(
            f"{made.path} draws the real images' classes in turn ({listed([n for n in made_names if n in there])}), "
            f"not {listed(strange)}"
        )
        return set(strange)
    if strange:
        raise ValueError(
            f"{made.path}: the classes {listed(strange)} are none of the real images' ({listed(sorted(there))})"
        )
    return set()


def _of_classifier(
    names: list[str], named: bool, classifier: tuple[str, ...], num_scores: int | None
) -> tuple[tuple[str, ...], bool]:
    """The list of names, in the classifier's numbering if its classes can be told, and whether it is that."""
    if names and classifier and set(names) <= set(classifier):
        return classifier, True
    if all(map(_is_whole, names)):
        largest = max(map(int, names), default=-1)
        spread = largest + 1 <= GAPS * len(names)
        names = [str(i) for i in range(largest + 1)] if spread else sorted(names, key=int)
    fits = bool(names) and len(names) == num_scores
    if fits and classifier and not named:  # mere numbers of as many classes
        return classifier, True
    return tuple(names), fits and not classifier
