"""Kaldi-style data directories.

One entry per line, starting with an id; ids are unique and in byte (C locale) order. :mod:`ssltoolkit.data.tables`
defines the rest of the line. Every error names file and line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, TypeVar, Union

from ssltoolkit.data.tables import (
    EVENTS,
    EVENTS_HEADER,
    HEADER_FAULT,
    MARK,
    NO_TEXT,
    TABLES,
    TO_END,
    Check,
    check_event,
    segment_of,
    text_fault,
)
from ssltoolkit.errors import DataError, writing
from ssltoolkit.text import not_utf8, other_encoding, remove_mark

PathLike = Union[str, Path]
Value = TypeVar("Value")


class Event(NamedTuple):
    """One sound event; times in seconds from the start of the utterance."""

    onset: float
    offset: float
    label: str


class Segment(NamedTuple):
    """A segment of a recording; times in seconds, an ``end`` of -1 means the end of the recording."""

    recording: str
    start: float
    end: float


def made_in(path: PathLike) -> str:
    """Stages of a recipe that write a path, for messages: those of ``dump/``, or stage 1, which writes ``data/``.

    Example:
        >>> made_in("dump/raw/train/wav.scp"), made_in("data/train")
        ('stages 1 and 2', 'stage 1')
    """
    below = ""
    for part in reversed(Path(path).absolute().parts):
        if part == "dump":
            return "stages 1 to 3" if below == "fbank" else "stages 1 and 2"
        if part == "data":
            break
        below = part
    return "stage 1"


def read_lines(path: PathLike) -> Iterable[Tuple[int, str]]:
    """Yield ``(line number, line)`` of a UTF-8 text file; blank lines, CRLF and a byte order mark are errors."""
    path = Path(path)
    try:
        with open(path, "rb", buffering=1 << 20) as lines:
            for number, raw in enumerate(lines, 1):
                line = raw.rstrip(b"\n")
                fault = _fault(line) if not line.isascii() or b"\r" in line or b"\0" in line else None
                if fault == NO_TEXT:
                    raise DataError(not_utf8(path, path.read_bytes()))
                if fault is not None:
                    raise DataError(
                        f"{path}:{number}: {fault}"
                        + _REMEDIES.get(fault, "; correct this line").format(path=path, mark=remove_mark(path))
                    )
                if not line.strip():
                    raise DataError(f"{path}:{number}: empty line; remove it (utils/fix_data_dir.sh does)")
                yield number, line.decode("utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; prepare the data directory first ({made_in(path)})") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a directory, expected a text file") from None
    except PermissionError:
        raise DataError(f"{path}: cannot be read; check its permissions") from None


def _fault(line: bytes) -> Optional[str]:
    if line.endswith(b"\r"):
        return "line ends in CRLF"
    fault = text_fault(line)
    if b"\0" in line and (other_encoding(line) or "").startswith("UTF-"):
        return NO_TEXT
    return NO_TEXT if fault is not None and fault.startswith(NO_TEXT) else fault


_REMEDIES = {"line ends in CRLF": "; convert it with: sed -i 's/\\r$//' {path}", MARK: "; remove it with: {mark}"}


def read_table(path: PathLike) -> Dict[str, str]:
    """Read ``id rest-of-line`` lines into a dict in file order.

    Raises:
        DataError: missing file, line without a value, duplicate id, CRLF or non-UTF-8 text; names file and line.
    """
    table: Dict[str, str] = {}
    for number, line in read_lines(path):
        parts = line.split(None, 1)
        if len(parts) != 2 or line[0].isspace():
            raise DataError(f"{path}:{number}: expected 'id value', got {line[:60]!r}")
        if parts[0] in table:
            raise DataError(f"{path}:{number}: id {parts[0]!r} appears twice; keep one line for each id")
        table[parts[0]] = parts[1].rstrip()
    return table


def write_table(path: PathLike, table: Dict[str, str]) -> None:
    """Write ``id value`` lines in byte order of the ids, atomically.

    Example:
        >>> write_table(Path("utt2label"), {"b": "dog", "a": "cat"})
        >>> read_table("utt2label")
        {'a': 'cat', 'b': 'dog'}
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with writing(temporary), open(temporary, "w", encoding="utf-8", newline="\n") as out:
        for key in sorted(table, key=lambda name: name.encode("utf-8")):
            out.write(f"{key} {table[key]}\n")
    temporary.replace(path)


class DataDir:
    """Read access to one data directory.

    Args:
        path: the directory; ``wav.scp`` (or ``segments``) defines the utterances.

    Raises:
        DataError: the directory or its ``wav.scp`` is missing or malformed.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(f"{self.path}: no such data directory; prepare it first ({made_in(self.path)})")
        source = "segments" if self.has("segments") else "wav.scp"
        self.utt_ids: List[str] = sorted(read_table(self.path / source), key=lambda name: name.encode("utf-8"))
        if not self.utt_ids:
            raise DataError(f"{self.path / source}: no utterances; the file is empty")

    def has(self, name: str) -> bool:
        """Whether the optional file ``name`` exists."""
        return (self.path / name).is_file()

    def wav(self) -> Dict[str, str]:
        """Recording id -> path, or archive and offset."""
        return read_table(self.path / "wav.scp")

    def segments(self) -> Dict[str, Segment]:
        """Utterance id -> segment of a recording; the whole recording if there is no ``segments`` file."""
        if not self.has("segments"):
            return {utt: Segment(utt, 0.0, -1.0) for utt in self.utt_ids}
        recordings = self.wav()

        def parse(value: str, where: str) -> Segment:
            recording, start, end = segment_of(value.encode())
            if recording.decode() not in recordings:
                raise DataError(f"{where}: recording {recording.decode()!r} is not in wav.scp")
            return Segment(recording.decode(), start, TO_END if end is None else end)

        return self._parsed("segments", parse)

    def labels(self) -> Dict[str, List[str]]:
        """Utterance id -> labels of the whole clip (``utt2label``, comma-separated)."""
        return self._parsed("utt2label", lambda value, where: value.split(","))

    def pitches(self) -> Dict[str, int]:
        """Utterance id -> MIDI note number (``utt2pitch``)."""
        return self._parsed("utt2pitch", lambda value, where: int(value))

    def values(self, name: str, check: Check) -> Dict[str, str]:
        """Utterance id -> value of any table ``utt2...``, as text; ``check`` returns what is wrong with a value."""
        return self._parsed(name, lambda value, where: value, check)

    def durations(self) -> Dict[str, float]:
        """Utterance id -> duration in seconds (``utt2dur``)."""
        return self._parsed("utt2dur", lambda value, where: float(value))

    def folds(self) -> Dict[str, int]:
        """Utterance id -> fold number of a k-fold set (``utt2fold``)."""
        return self._parsed("utt2fold", lambda value, where: int(value))

    def events(self) -> Dict[str, List[Event]]:
        """Utterance id -> its events by onset (``events.tsv``); utterances without events have an empty list."""
        events: Dict[str, List[Event]] = {utt: [] for utt in self.utt_ids}
        for _, utt, event in self.event_rows():
            events[utt].append(event)
        return {utt: sorted(found) for utt, found in events.items()}

    def event_rows(self) -> Iterator[Tuple[str, str, Event]]:
        """``file:line``, utterance id and event of each row of ``events.tsv``, in the order of the file."""
        path, known = self.path / EVENTS, set(self.utt_ids)
        for number, line in read_lines(path):
            where, fields = f"{path}:{number}", line.split("\t")
            if number == 1:
                if line.encode() != EVENTS_HEADER:
                    raise DataError(f"{where}: {HEADER_FAULT}")
                continue
            fault = check_event([field.encode() for field in fields])
            if fault is not None:
                raise DataError(f"{where}: {fault}, got {line!r}")
            if fields[0] not in known:
                raise DataError(f"{where}: utterance {fields[0]!r} is not in this data directory")
            yield where, fields[0], Event(float(fields[1]), float(fields[2]), fields[3])

    def _parsed(self, name: str, parse: Callable[[str, str], Value], check: Optional[Check] = None) -> Dict[str, Value]:
        """Parse the table ``name`` and check that it covers exactly this directory's utterances."""
        path, check = self.path / name, check or TABLES[name].check
        table = read_table(path)
        parsed: Dict[str, Value] = {}
        for number, (utt, value) in enumerate(table.items(), 1):
            fault = check(value.encode())
            if fault is not None:
                raise DataError(f"{path}:{number}: {fault}, got {value!r}")
            parsed[utt] = parse(value, f"{path}:{number}")
        missing = [utt for utt in self.utt_ids if utt not in parsed]
        if missing:
            raise DataError(f"{path}: {len(missing)} utterance(s) have no line, the first is {missing[0]!r}")
        return {utt: parsed[utt] for utt in self.utt_ids}
