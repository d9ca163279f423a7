"""Processes that write parts of a conversion."""

import multiprocessing
import os
import signal
import threading

from datamodules.conversion.parts import Done, Part, Parts
from datamodules.conversion.pictures import Refused

_parts: Parts | None = None


def begin(parts: Parts) -> None:
    """Make this process a worker, which is gone a moment after its parent is, also one that was killed."""
    global _parts
    _parts = parts
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def write_part(part: Part) -> Done | Refused:
    """Write a part by `Parts.write`; its error as a value, as one that is raised here loses where it was raised."""
    assert _parts is not None
    try:
        return _parts.write(part)
    except ValueError as error:
        return Refused(str(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
