"""What a sweep draws its trials from: for each option of ``fit`` a distribution. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = {
    "log": "log LOW HIGH, uniform in the logarithm",
    "uniform": "uniform LOW HIGH",
    "int": "int LOW HIGH, whole numbers, both ends among them",
    "choice": "choice VALUE VALUE ..., any words",
}
PREFIX = "--space."


@dataclass(frozen=True)
class Dimension:
    """The distribution of one option.

    Attributes:
        option: Its name without dashes, such as ``model.generator_optimizer.lr``.
        kind: One of ``KINDS``.
        values: Low and high, or the choices.
    """

    option: str
    kind: str
    values: tuple[Any, ...]

    def draw(self, trial: Any) -> str:
        """The option's value in a trial of Optuna's, as a word of the command line."""
        if self.kind == "choice":
            return str(trial.suggest_categorical(self.option, self.values))
        low, high = self.values
        if self.kind == "int":
            return str(trial.suggest_int(self.option, low, high))
        return repr(float(trial.suggest_float(self.option, low, high, log=self.kind == "log")))

    def as_text(self) -> str:
        """As it is given."""
        return " ".join([self.kind, *map(str, self.values)])


def dimension(option: str, given: Any) -> Dimension:
    """A distribution from what a user gives.

    Args:
        option: Without dashes.
        given: Words, such as ``log 1e-5 1e-2``, as a text or a list.

    Raises:
        ValueError: for another kind, or bounds that are none.
    """
    words = given.split() if isinstance(given, str) else given
    told = f"{PREFIX}{option} {' '.join(map(str, words)) if isinstance(words, list) else words}"
    accepted = "accepted: " + "; ".join(KINDS.values())
    if not isinstance(words, list) or not words or words[0] not in KINDS:
        raise ValueError(f"{told}: {accepted}")
    kind, *values = words
    if kind == "choice":
        texts = tuple(map(_word, values))
        if len(texts) < 1 or len(set(texts)) < len(texts):
            raise ValueError(f"{told}: one or more values, each once; {accepted}")
        return Dimension(option, kind, texts)
    try:
        bounds = tuple(int(str(value)) if kind == "int" else float(value) for value in values)
    except (TypeError, ValueError):
        bounds = ()
    if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or bounds[0] > bounds[1]:
        raise ValueError(f"{told}: two numbers, the lower one first; {accepted}")
    if kind == "log" and bounds[0] <= 0:
        raise ValueError(f"{told}: a logarithm needs numbers above 0")
    return Dimension(option, kind, bounds)


def _word(value: Any) -> str:
    """A value of YAML as the command line has it."""
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if _plain(value) else str(value)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def dimensions(in_file: Mapping[str, Any], options: Sequence[tuple[str, list[str]]]) -> list[Dimension]:
    """The space: what a file gives, options on top of it.

    Raises:
        ValueError: for a distribution that is none.
    """
    given: dict[str, Any] = {str(option).removeprefix("--"): value for option, value in in_file.items()}
    return [dimension(option, value) for option, value in {**given, **dict(options)}.items()]
