"""Check of events against their recordings: ends slightly late are clipped and listed, others are an error."""

from __future__ import annotations

from pathlib import Path
from typing import List

from ssltoolkit.data.datadir import Event
from ssltoolkit.errors import DataError

#: list of the events whose ends were clipped
CLIPPED = "clipped_events.txt"
#: an event that ends up to this many seconds after its recording is clipped: times are rounded, and lossy codecs change
#: lengths
MAX_LATE = 0.05


def clipped(event: Event, seconds: float, where: str) -> Event:
    """Clip an event to its recording.

    Args:
        seconds: length of the recording.
        where: file and line, for the error.

    Raises:
        DataError: the event starts after the recording, or ends more than ``MAX_LATE`` s after it.
    """
    if event.onset >= seconds or event.offset > seconds + MAX_LATE:
        raise DataError(
            f"{where}: {event.label!r} from {event.onset:g} to {event.offset:g} s in a recording of {seconds:.3f} s; "
            "correct the times (they are in seconds)"
        )
    return event._replace(offset=min(event.offset, seconds))


def write_clipped(path: Path, lines: List[str]) -> None:
    """Write and report the list of events whose ends were clipped; no file if there are none."""
    path.unlink(missing_ok=True)
    if lines:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print(
            f"{len(lines)} events that end up to {1000 * MAX_LATE:.0f} ms after their recordings were clipped; listed "
            f"in {path}",
            flush=True,
        )
