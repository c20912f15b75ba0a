"""Signals that ask a run to stop so that it can be continued: Ctrl-C, SIGTERM, and SIGUSR1 for a cluster's pre-emption."""

from __future__ import annotations

import contextlib
import signal
from typing import Any, Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


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
    """Handler of the time before training, and of the other stages."""
    raise StoppedEarly(signal.Signals(number).name)


@contextlib.contextmanager
def handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Give the signals to ``handler`` inside; the former handlers come back."""
    former = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)
