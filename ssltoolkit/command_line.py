"""Shared by programs and recipes: exit statuses, option types, and running a program's ``main``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Callable, List, NoReturn, Optional

from ssltoolkit.errors import UserError, no_room, plugin_error, show_traceback
from ssltoolkit.signals import StoppedEarly, handling, stop_early

EXIT_OK, EXIT_FAULT, EXIT_USAGE, EXIT_RESUME, EXIT_INTERRUPTED = 0, 1, 2, 75, 130


class Parser(argparse.ArgumentParser):
    """Argument parser that reports errors in one line without the usage, and does not accept abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run(main: Callable[[Optional[List[str]]], int], argv: Optional[List[str]] = None) -> int:
    """Run a program's ``main``. A :class:`UserError` or an exception in a plugin's code gives one line on stderr and
    status 2, a stop signal status 75.
    """
    try:
        with handling(stop_early):
            return int(main(argv) or EXIT_OK)
    except StoppedEarly as stop:
        print(f"stopped by {stop}; run the same command again to continue", file=sys.stderr)
        return EXIT_RESUME
    except UserError as error:
        return _refuse(main, str(error))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has closed the pipe (``| head``), which is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        told = plugin_error(error)
        if told is not None:
            return _refuse(main, str(told))
        if not isinstance(error, OSError):
            raise
        # A folder that is a file, a full disk, a path without permission.
        if error.filename is not None:
            return _refuse(main, f"{error.filename}: {error.strerror}")
        if not no_room(error):
            raise
        return _refuse(main, f"cannot write: {error.strerror}; free some space, then run the same command again")


def _refuse(main: Callable, message: str) -> int:
    show_traceback()
    program = os.path.splitext(os.path.basename(sys.modules[main.__module__].__file__ or ""))[0]
    print(f"ssltoolkit {program.replace('_', '-')}: error: {message}", file=sys.stderr)
    return EXIT_USAGE


def str2bool(text: str) -> bool:
    """Option type: ``true`` or ``false``, as passed by shell recipes."""
    if text.lower() in ("true", "yes", "1"):
        return True
    if text.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def share(text: str) -> float:
    """Option type: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got {text!r}")
    return value


def positive_int(text: str) -> int:
    """Option type: an integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value
