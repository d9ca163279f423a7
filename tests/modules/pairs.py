"""Cases of a product of options: few that hold every pair of values, or many at random."""

import random
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

Factors = dict[str, tuple[Any, ...]]
Case = dict[str, Any]


def covering(factors: Factors, refused: Callable[[Case], bool], seed: int = 0, tries: int = 6) -> list[Case]:
    """Cases in which every pair of values of two factors is found, as far as it is not refused. Greedy.

    Args:
        factors: The values of each option, by its name.
        refused: Whether values don't go together.
        seed: Of the choice.
        tries: Random cases around a missing pair, of which the one with the most missing pairs is taken.
    """
    source, cases = random.Random(seed), []
    missing = {
        (a, i, b, j)
        for a, b in combinations(factors, 2)
        for i in range(len(factors[a]))
        for j in range(len(factors[b]))
    }
    while missing:
        a, i, b, j = min(missing)
        found: list[tuple[int, dict[str, int]]] = []
        for _ in range(20 * tries):
            places = {**_places(factors, source), a: i, b: j}
            if not refused(_case(factors, places)):
                found.append((len(missing & _pairs(places)), places))
                if len(found) == tries:
                    break
        if not found:  # this pair is refused whatever comes with it
            missing.remove((a, i, b, j))
            continue
        places = max(found, key=lambda each: each[0])[1]
        missing -= _pairs(places)
        cases.append(_case(factors, places))
    return cases


def drawn(factors: Factors, refused: Callable[[Case], bool], count: int, seed: int = 0) -> Iterator[Case]:
    """``count`` cases at random that are not refused."""
    source = random.Random(seed)
    while count > 0:
        case = _case(factors, _places(factors, source))
        if not refused(case):
            count -= 1
            yield case


def _places(factors: Factors, source: random.Random) -> dict[str, int]:
    return {name: source.randrange(len(values)) for name, values in factors.items()}


def _case(factors: Factors, places: dict[str, int]) -> Case:
    return {name: values[places[name]] for name, values in factors.items()}


def _pairs(places: dict[str, int]) -> set[tuple[str, int, str, int]]:
    return {(a, places[a], b, places[b]) for a, b in combinations(places, 2)}


def name_of(case: Case, plain: Case) -> str:
    """The options that differ from the ``plain`` case's."""
    return ", ".join(f"{key}={value}" for key, value in case.items() if value != plain[key]) or "plain"
