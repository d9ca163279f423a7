"""The end of a command whose output nobody reads any more, as of ``lit-gen list | head``. Imports no torch."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

SIGPIPE = 13  # its number, which Windows lacks


@contextmanager
def ended_by_closed_output() -> Iterator[None]:
    """Where the reader of the output has gone, end without a word, and with the status of programs that SIGPIPE ends.

    What was printed is flushed here, since the interpreter would tell a failure at its own end.

    Raises:
        SystemExit: in the place of a `BrokenPipeError` of the output; that of another pipe is raised as it is.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not is_output_closed():
            raise
        for stream in filter(_is_closed, (sys.stdout, sys.stderr)):
            nowhere = os.open(os.devnull, os.O_WRONLY)  # for what is left, which the interpreter flushes
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        sys.exit(128 + SIGPIPE)


def is_output_closed() -> bool:
    """Whether the reader of standard output, or of standard error, has gone."""
    return _is_closed(sys.stdout) or _is_closed(sys.stderr)


def _is_closed(stream: TextIO | None) -> bool:
    try:
        pipe = -1 if stream is None else stream.fileno()
    except (OSError, ValueError):  # of no file, or closed by ourselves
        return False
    if pipe < 0 or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(pipe, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
