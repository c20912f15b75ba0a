"""The names of :mod:`ssltoolkit.command_line` under the module's former name."""

from ssltoolkit.command_line import (  # noqa: F401
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_RESUME,
    EXIT_USAGE,
    Parser,
    positive_int,
    run,
    share,
    str2bool,
)
