"""Errors that are reported to the user."""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import traceback
from typing import Iterator, Optional, Set, Union

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
# The last two come from GPU libraries that cannot allocate their workspace.
_MEMORY_ERRORS = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
#: source files of the plugins; the registry adds them
PLUGIN_FILES: Set[str] = set()
#: environment variable with which programs print the traceback of an error before its message
TRACEBACK = "SSLTOOLKIT_TRACEBACK"


class UserError(Exception):
    """Bad input or usage. The message is one line: what is wrong, where, and how to fix it.

    Programs print it without a traceback and end with exit status 2.
    """


class ConfigError(UserError):
    """Invalid configuration value; the message starts with its key path."""


class DataError(UserError):
    """Invalid data file; the message starts with ``file:line`` or the utterance id."""


class PluginError(UserError):
    """An exception in the code of a plugin, which is its ``__cause__``."""


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


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or not."""
    # PyTorch's own class is known by its name, because this module must not import torch.
    if any(cls.__name__ in ("MemoryError", "OutOfMemoryError") for cls in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_ERRORS)


def kind_of(value: object) -> str:
    """What a value is, for messages: ``None``, or the name of its class."""
    return "None" if value is None else type(value).__name__


def class_name(cls: type) -> str:
    """Name of a class for messages, with its file if a plugin defines it."""
    try:
        file = inspect.getsourcefile(cls)
    except TypeError:  # a class of no file
        return cls.__name__
    return f"{cls.__name__} ({file})" if file in PLUGIN_FILES else cls.__name__


def method_name(owner: object, method: str) -> str:
    """``method() of Class`` for messages, with file and line if a plugin defines it."""
    cls = owner if isinstance(owner, type) else type(owner)
    code = getattr(inspect.unwrap(getattr(cls, method)), "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code and code.co_filename in PLUGIN_FILES else ""
    return f"{method}() of {cls.__name__}{place}"


def plugin_line(error: BaseException) -> Optional[str]:
    """``file:line`` at which a plugin's code failed, or None if no plugin was running."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return next((f"{file}:{line}" for file, line in reversed(frames) if file in PLUGIN_FILES), None)


def plugin_error(error: BaseException, where: str = "") -> Optional[PluginError]:
    """Describe an exception in a plugin's code in one line: method, file, line and reason.

    Args:
        where: strategy, task or key path, for the beginning of the message.

    Returns:
        None if the exception did not pass through a plugin's code, or means that memory or disk are full.
    """
    line = plugin_line(error)
    if line is None or out_of_memory(error) or no_room(error):
        return None
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    called = next(frame for frame in frames if frame.f_code.co_filename in PLUGIN_FILES)
    owner, method = called.f_locals.get("self"), called.f_code.co_name
    if owner is not None and not where:
        where = getattr(owner, "registered_name", "")
    what = f"{method}()" + (f" of {type(owner).__name__}" if owner is not None else "")
    # A ParameterError of the toolkit says by itself what was given wrongly.
    kind = "" if isinstance(error, ParameterError) else f"{type(error).__name__}: "
    return PluginError(
        f"{where}{': ' if where else ''}{what} failed at {line}: {kind}{' '.join(str(error).split())}; correct this "
        f"line ({TRACEBACK}=1 shows the traceback)"
    )


@contextlib.contextmanager
def plugin_errors(where: str) -> Iterator[None]:
    """Convert exceptions in a plugin's code to a :class:`PluginError`; other exceptions, and errors that are reported
    to the user already, pass.

    Args:
        where: strategy, task or key path, for the beginning of the message.

    Raises:
        PluginError: an exception in a plugin's code.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = plugin_error(error, where)
        if told is None:
            raise
        raise told from error


def show_traceback() -> None:
    """Print the traceback of the exception that is being handled, if ``SSLTOOLKIT_TRACEBACK`` is set."""
    if os.environ.get(TRACEBACK):
        traceback.print_exc()


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
