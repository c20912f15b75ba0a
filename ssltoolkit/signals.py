"""Handling of signals that stop a run so that it can be continued: Ctrl-C, SIGTERM, and SIGUSR1 for pre-emption."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, Callable, Iterator, Optional

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
#: seconds after which a signal received during an import is sent again
_RETRY_S = 0.1


class Interrupted(Exception):
    """A signal stopped the run after it had saved a checkpoint."""


class StoppedEarly(KeyboardInterrupt):
    """A signal stopped a program that had nothing to save: before training, or in another stage."""


class StopRequest:
    """Records a signal received during training, to be checked between steps.

    Attributes:
        number: signal number, 0 if none was received.
    """

    def __init__(self) -> None:
        self.number = 0

    def note(self, number: int, frame: Any) -> None:
        """Signal handler; a second Ctrl-C does not wait for the step to end."""
        if self.number == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    @property
    def name(self) -> str:
        """Name of the signal that stopped the run."""
        return signal.Signals(self.number).name if self.number else "a signal to another process"


def stop_early(number: int, frame: Any) -> None:
    """Signal handler before training, and in other stages.

    During an import the signal is postponed: libraries may swallow an exception raised there, and leave a partially
    imported module.
    """
    if _importing(frame):
        again = threading.Timer(_RETRY_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    raise StoppedEarly(signal.Signals(number).name)


def _importing(frame: Optional[FrameType]) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Context in which ``handler`` receives the signals; previous handlers are restored."""
    former = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)
