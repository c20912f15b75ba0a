"""Errors that are reported to the user."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Iterator, Union

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class UserError(Exception):
    """Bad input or usage. The message is one line: what is wrong, where, and how to fix it.

    Programs print it without a traceback and end with exit status 2.
    """


class ConfigError(UserError):
    """Invalid configuration value; the message starts with its key path."""


class DataError(UserError):
    """Invalid data file; the message starts with ``file:line`` or the utterance id."""


class ParameterError(ValueError):
    """A constructor argument out of range; building from YAML prefixes the key path.

    Args:
        parameter: the constructor argument's name.
        message: expected and actual value, e.g. ``"must lie in (0, 24], got 30"``.
    """

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter} {message}")
        self.parameter, self.message = parameter, message


def no_room(error: BaseException) -> bool:
    """Whether an error means that the disk is full, a quota or limit is reached, or the disk fails."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


@contextlib.contextmanager
def writing(path: Union[str, os.PathLike]) -> Iterator[None]:
    """Convert full-disk errors inside the context to a :class:`UserError` that names ``path``, as the OSError does not.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if not no_room(error):
            raise
        raise UserError(
            f"{path}: cannot be written: {error.strerror}; free some space, then run the same command again"
        ) from None


def check_range(
    parameter: str, value: float, low: float, high: float = float("inf"), *, open_low: bool = False
) -> None:
    """Raise :class:`ParameterError` unless ``low <= value <= high`` (``low < value`` with ``open_low``) and finite."""
    if not (low < value if open_low else low <= value) or not value <= high or abs(value) == float("inf"):
        bracket = "(" if open_low else "["
        upper = "inf)" if high == float("inf") else f"{high:g}]"
        raise ParameterError(parameter, f"must lie in {bracket}{low:g}, {upper}, got {value!r}")


def check_choice(parameter: str, value: object, choices: tuple) -> None:
    """Raise :class:`ParameterError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ParameterError(parameter, f"must be one of {', '.join(map(str, choices))}, got {value!r}")
