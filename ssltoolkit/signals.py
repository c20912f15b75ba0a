"""Signals that ask a run to stop so that it can be continued: Ctrl-C, SIGTERM, and SIGUSR1 for a cluster's
pre-emption.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, Callable, Iterator, Optional

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
#: seconds after which a signal that came amid an import is sent again
_AGAIN_S = 0.1


class Interrupted(Exception):
    """A signal asked the run to stop; it was checkpointed first."""


class StoppedEarly(KeyboardInterrupt):
    """A signal asked a program to stop where there is nothing to save: before training, or in another stage."""


class StopRequest:
    """Notes the signal that came while training, to be looked at between steps.

    Attributes:
        number: of the signal, 0 while there is none.
    """

    def __init__(self) -> None:
        self.number = 0

    def note(self, number: int, frame: Any) -> None:
        """Handler; the second Ctrl-C does not wait for the step to end."""
        if self.number == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    @property
    def name(self) -> str:
        """What stopped the run."""
        return signal.Signals(self.number).name if self.number else "a signal to another process"


def stop_early(number: int, frame: Any) -> None:
    """Handler of the time before training, and of the other stages.

    Amid an import the signal is put off: libraries swallow what is raised there, and half a module would stay behind.
    """
    if _importing(frame):
        again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
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
    """Give the signals to ``handler`` inside; the former handlers come back."""
    former = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)
