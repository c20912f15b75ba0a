"""The grammar of Kaldi-style tables: the files of a data directory, their keys, and the format of their lines.

The shell helpers, the programs and the recipes all use it, so that each can read what another wrote.
Standard library only. Values are bytes: sorting them is C-locale sorting, and an id in any script passes through."""

from __future__ import annotations

import math
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from ssltoolkit.text import BOM, other_encoding

#: function that returns what is wrong with a value, or None
Check = Callable[[bytes], Optional[str]]
EVENTS = "events.tsv"
EVENTS_HEADER = b"utt_id\tonset\toffset\tlabel"
HEADER_FAULT = "the header must be utt_id, onset, offset, label separated by tabs"
#: ``end`` of a segment that extends to the end of its recording
TO_END = -1.0
CRLF, EMPTY, NO_TEXT, MARK = "Windows line end (CRLF)", "empty line", "not UTF-8 text", "starts with a byte order mark"


class Table(NamedTuple):
    """One kind of table.

    Attributes:
        key: kind of id in the first column: ``utt``, ``rec`` (recording) or ``spk``.
        check: check of the rest of a line.
        complete: whether every utterance must have a line.
    """

    key: str
    check: Check
    complete: bool = True


def number(raw: bytes) -> Optional[float]:
    """A finite number, or None; rejects ``1_000``, which only Python accepts."""
    try:
        value = float(raw)
    except ValueError:
        return None
    return value if math.isfinite(value) and b"_" not in raw else None


def is_count(raw: bytes) -> bool:
    """Whether ``raw`` is a whole number of at most 18 digits, which fits into 64 bits."""
    return raw.isdigit() and len(raw) <= 18


def is_command(value: bytes) -> bool:
    """Whether an entry of ``wav.scp`` is a command whose output is the audio; it runs only if the user allows it."""
    return value.rstrip().endswith(b"|")


def check_wav(value: bytes) -> Optional[str]:
    return None if value.strip(b" \t|") else "no path after the id"


def check_archive(value: bytes) -> Optional[str]:
    path, colon, offset = value.rpartition(b":")
    return None if path and colon and is_count(offset) else "the value is not of the form ARK:OFFSET"


def check_segment(value: bytes) -> Optional[str]:
    fields = value.split()
    if len(fields) != 3:
        return f"{len(fields) + 1} columns where 4 are expected (utterance recording start end)"
    start, end = number(fields[1]), number(fields[2])
    if start is None or end is None:
        return "start and end must be numbers of seconds"
    if start < 0 or (end != TO_END and end <= start):
        return "needs 0 <= start < end, or an end of -1 for the end of the recording"
    return None


def segment_of(value: bytes) -> Tuple[bytes, float, Optional[float]]:
    """Recording, start and end (seconds; None for the end of the recording) of a valid ``segments`` value."""
    recording, start, end = value.split()
    return recording, float(start), None if float(end) == TO_END else float(end)


def segment_value(recording: str, span: Optional[Tuple[float, float]] = None) -> str:
    """The line of ``segments`` after its id: a span in seconds, or the whole recording."""
    return f"{recording} 0 -1" if span is None else f"{recording} {span[0]:.6f} {span[1]:.6f}"


def check_one_word(value: bytes) -> Optional[str]:
    count = len(value.split())
    return None if count == 1 else f"{count + 1} columns where 2 are expected"


def check_words(value: bytes) -> Optional[str]:
    return None if value else "nothing after the id"


def check_anything(value: bytes) -> Optional[str]:
    return None


def check_label(label: bytes) -> Optional[str]:
    """Check one label: not empty, and no Unicode space around it."""
    text = label.decode("utf-8", "replace")
    if not text.strip("\u200b\ufeff"):
        return "a label is missing"
    if text != text.strip() or text != text.strip("\u200b\ufeff"):
        return "a label has spaces around it; remove them"
    return None


def check_labels(value: bytes) -> Optional[str]:
    labels = value.split(b",")
    if any(check_label(label) for label in labels):
        return "labels are separated by single commas without spaces around them (label[,label...])"
    return None if len(set(labels)) == len(labels) else "a label is given twice"


def check_pitch(value: bytes) -> Optional[str]:
    return None if is_count(value) and int(value) <= 127 else "the pitch must be a MIDI note number from 0 to 127"


def check_duration(value: bytes) -> Optional[str]:
    seconds = number(value)
    return None if seconds is not None and seconds > 0 else "the duration must be a number of seconds above 0"


def check_num_samples(value: bytes) -> Optional[str]:
    return None if is_count(value) and int(value) else "the number of samples must be an integer above 0"


def check_fold(value: bytes) -> Optional[str]:
    return None if is_count(value) else "the fold must be a whole number, 0 or more"


def check_times(onset: bytes, offset: bytes) -> Optional[str]:
    """Check the times of an event, in seconds."""
    first, last = number(onset), number(offset)
    if first is None or last is None:
        return "onset and offset must be numbers of seconds, with a decimal point"
    return None if 0 <= first < last else "needs 0 <= onset < offset"


def check_event(fields: List[bytes]) -> Optional[str]:
    """Check one row of ``events.tsv``, split at its tabs."""
    if len(fields) != 4:
        return f"{len(fields)} columns where 4 are expected, separated by tabs"
    if not fields[0]:
        return "no utterance"
    return check_times(fields[1], fields[2]) or check_label(fields[3])


TABLES: Dict[str, Table] = {
    "wav.scp": Table("rec", check_wav),
    "segments": Table("utt", check_segment),
    "utt2spk": Table("utt", check_one_word),
    "spk2utt": Table("spk", check_words),
    "utt2label": Table("utt", check_labels),
    "utt2pitch": Table("utt", check_pitch),
    "utt2dur": Table("utt", check_duration),
    "utt2num_samples": Table("utt", check_num_samples),
    "utt2fold": Table("utt", check_fold),
    "feats.scp": Table("utt", check_archive),
    "text": Table("utt", check_anything),
}


def table_of(name: str) -> Optional[Table]:
    """The table for a file name; any other ``utt2*`` file is an optional table of arbitrary values."""
    if name in TABLES:
        return TABLES[name]
    return Table("utt", check_anything, complete=False) if name.startswith("utt2") else None


def line_fault(line: bytes) -> Optional[str]:
    """Formatting fault of a raw line, independent of its columns; None if there is none."""
    if not line.endswith(b"\n"):
        return "the last line has no newline"
    if line.endswith(b"\r\n"):
        return CRLF
    if not line.strip():
        return EMPTY
    if line[0] in b" \t":
        return "starts with a space"
    if line[-2] in b" \t":
        return "ends with a space"
    return text_fault(line)


def text_fault(line: bytes) -> Optional[str]:
    """Fault that makes a line unreadable, independent of its columns and line end; None if there is none."""
    if b"\0" in line:
        return "contains a NUL byte"
    if b"\r" in line.rstrip(b"\r\n"):
        return "contains a carriage return within the line"
    if line.isascii():
        return None
    if line.startswith(BOM):
        return MARK
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return f"{NO_TEXT}, it looks like {other_encoding(line)}"
    # Readers that split on Unicode spaces would cut such an id in two.
    key = line.split(None, 1)[0].decode("utf-8")
    return f"the id {key!a} contains a non-ASCII space" if any(c.isspace() for c in key) else None
