"""How the command line ends: which errors are the user's, in one line, and with what status. Imports no Lightning."""

import inspect
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from torch.optim.lr_scheduler import LRScheduler

import lit_gen
from lit_gen.cli.closed_output import is_output_closed
from lit_gen.cli.words import report

_PACKAGE = Path(lit_gen.__file__).parent
OWN = (str(_PACKAGE), str(_PACKAGE.with_name("datamodules")))
SCHEDULES = str(inspect.getfile(LRScheduler))


def guarded(run: Callable[[], object]) -> None:
    """Run a command; an error of the user is one line and exit status 2.

    Raises:
        SystemExit: with the command's status, if it isn't 0.
        BrokenPipeError: nobody reads the output any more.
    """
    try:
        run()
    except KeyboardInterrupt as stop:
        sys.exit(exit_status(stop))
    except SystemExit as stop:
        sys.exit(stop.code if isinstance(stop.code, str) else exit_status(stop))
    except Exception as error:
        if isinstance(error, BrokenPipeError) and is_output_closed():
            raise
        message = users_error(error)
        if message is None or os.environ.get("LIT_GEN_TRACEBACK"):
            raise
        sys.exit(report(message))


def exit_status(error: BaseException) -> int:
    """The status with which an error ends the command."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        # Lightning ends an interrupted run with status 1.
        if isinstance(error.__context__, KeyboardInterrupt):
            return 128 + signal.SIGINT
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1 if users_error(error) is None or os.environ.get("LIT_GEN_TRACEBACK") else 2


def users_error(error: BaseException) -> str | None:
    """The message of an error that this library, or Lightning, raised on purpose, or None if it is a bug.

    Such an error was raised in our own files, in Lightning's or by a learning-rate schedule; the framework may have
    wrapped it in others. Whatever the system refuses (a full disk, missing rights) is no bug either, nor is what the
    client of a tracker says of its account, nor a package that we say an option needs: a failed import names it itself.
    """
    cause: BaseException | None = error
    while cause is not None:
        needs = isinstance(cause, ModuleNotFoundError) and cause.name is None
        if needs or isinstance(cause, (ValueError, OSError)) or type(cause).__name__ == "MisconfigurationException":
            # A loader's worker sends its traceback as text.
            text = str(cause) if "Original Traceback" in str(cause) else ""
            files = re.findall(r'File "([^"]+)"', text) or raised_in(cause)
            if files[-1].startswith((*OWN, *_framework(), SCHEDULES)) or getattr(cause, "errno", None):
                message = text.strip().splitlines()[-1].partition(": ")[2] if text else str(cause)
                return " ".join(message.split()) or type(cause).__name__
        elif type(cause).__module__.startswith("wandb.errors"):
            return f"{' '.join(str(cause).split())}; --config wandb tracks without an account, offline"
        elif isinstance(cause, RuntimeError) and str(cause).startswith("Early stopping conditioned on"):
            return " ".join(str(cause).split())
        cause = cause.__cause__ or cause.__context__
    return None


def _framework() -> tuple[str, ...]:
    """Where Lightning lies, if it has been imported."""
    package = sys.modules.get("lightning")
    return () if package is None else (str(Path(package.__path__[0])),)


def raised_in(error: BaseException) -> list[str]:
    """The files of an error's traceback, the one that raised it last."""
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)] or [""]
