"""What the command line says of a mistake: one line, with the nearest accepted word. Imports no torch."""

import argparse
import difflib
import re
import sys
import time
from collections.abc import Iterable
from typing import NoReturn

from lit_gen.pretrained.shipped import list_configs, list_pretrained

TOLD_EVERY = 15.0  # seconds between two lines of progress


def report(message: str) -> int:
    """Print an error of the user as one line; the exit status."""
    sys.stderr.write(f"lit-gen: error: {' '.join(message.split())}\n")
    return 2


def note(text: str) -> None:
    """Print a line for the user, beside the results."""
    print(f"lit-gen: {text}", file=sys.stderr)


class Pace:
    """Tells how far a long work is, a line now and then, with what is left by the pace since the first call.

    Args:
        doing: what is done with images, in the past: "encoded".
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._begun = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """So many images are done, of so many."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._begun = done, now
        if now - self._told >= TOLD_EVERY and done > self._first:
            self._told, left = now, (now - self._begun) * (total - done) / (done - self._first)
            note(f"{self._doing} {done:,} of {total:,} images, {left / 60:.1f} minutes left")


def an(thing: object) -> str:
    """The name of its class with its article: a VAE, an IWAE."""
    name = type(thing).__name__
    return f"{'an' if re.match(r'[AEIO]|[FLMNRSX](?=[A-Z])', name) else 'a'} {name}"


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean …? `` with what is spelled alike, or nothing."""
    close = difflib.get_close_matches(name, sorted(known), 3, 0.6)
    return f"did you mean {' or '.join(close)}? " if close else ""


def suggest(name: str, known: Iterable[str]) -> str:
    """What is spelled alike, and all that is accepted, in its order."""
    known = list(known)
    return f"{nearest(name, known)}accepted: {', '.join(known)}" if known else "see --help"


def unrecognised(message: str, options: Iterable[str]) -> str | None:
    """The words of a parser for arguments that it doesn't know, with a hint; None for another message.

    Args:
        message: Of argparse.
        options: All that the command has, with their dashes.
    """
    if not (found := re.search(r"[Uu]nrecognized arguments: (\S+)", message)):
        return None
    word = found[1].partition("=")[0]
    if word.startswith("-"):
        hint = nearest(word, options) or nearest(word.partition(".")[0], options)
        return f"unknown option {word}; {hint}see --help"
    hint = f"; a shipped config is given by --config {word}" if word in list_configs() else ""
    hint = hint or (f"; a shipped model is given by --ckpt_path {word}" if word in list_pretrained() else "")
    return f"unexpected argument {word}: options begin with --{hint}"


class CommandParser(argparse.ArgumentParser):
    """The parser of a command without a Trainer: mistakes are one line and exit status 2."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"lit-gen {command}", description=description, allow_abbrev=False)
        self._command = command

    def error(self, message: str) -> NoReturn:
        """Say what is wrong."""
        missing = message.replace("the following arguments are required: ", "")
        told = unrecognised(message, self._option_string_actions) or (
            f"{missing} is required; see lit-gen {self._command} --help" if missing != message else message
        )
        sys.exit(report(f"{self._command}: {told}"))
