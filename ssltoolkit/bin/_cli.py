"""What every program shares: exit statuses and option types."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Callable, List, Optional

from ssltoolkit.errors import UserError

EXIT_OK, EXIT_FAULT, EXIT_USAGE, EXIT_RESUME, EXIT_INTERRUPTED = 0, 1, 2, 75, 130


def run(main: Callable[[Optional[List[str]]], int], argv: Optional[List[str]] = None) -> int:
    """Run a program's ``main``; turn a :class:`UserError` into one line on stderr and status 2."""
    try:
        return int(main(argv) or EXIT_OK)
    except UserError as error:
        program = os.path.splitext(os.path.basename(sys.modules[main.__module__].__file__ or ""))[0]
        print(f"ssltoolkit {program}: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (``| head``): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def str2bool(text: str) -> bool:
    """``true``/``false`` as shell recipes pass them."""
    if text.lower() in ("true", "yes", "1"):
        return True
    if text.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def positive_int(text: str) -> int:
    """An integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value
