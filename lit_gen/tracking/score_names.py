"""Names of scores as runs log them, ``<split>/<kind>_<extractor>_<count>``, and what of them a kind means."""

import re
from collections.abc import Iterable


def of_kind(kind: str, names: Iterable[str], split: str = "val") -> list[str]:
    """The names of a kind of score, whatever the extractor and the number of samples; the shortest first.

    Args:
        kind: Such as ``fd``, which is called ``fid`` in the features of the published Inception network.
        names: All that are logged.
        split: ``val`` or ``test``.
    """
    spelled = re.escape(kind).replace("fd", "fi?d", 1) if kind.startswith("fd") else re.escape(kind)
    pattern = re.compile(rf"{split}/{spelled}_[^/]+_\d+k?(_train)?")
    return sorted((name for name in names if pattern.fullmatch(name)), key=lambda name: (len(name), name))
