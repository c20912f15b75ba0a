"""Kaldi-style data directories.

One entry a line, an id first, ids unique and in byte (C locale) order. Every error names file and line.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Tuple, TypeVar, Union

from ssltoolkit.errors import DataError, writing

PathLike = Union[str, Path]
Value = TypeVar("Value")


class Event(NamedTuple):
    """One sound event; times in seconds from the start of the utterance."""

    onset: float
    offset: float
    label: str


class Segment(NamedTuple):
    """A stretch of a recording; times in seconds, ``end`` of -1 means to its end."""

    recording: str
    start: float
    end: float


def read_lines(path: PathLike) -> Iterable[Tuple[int, str]]:
    """Yield ``(line number, line)`` of a UTF-8 text file; blank lines and CRLF are errors."""
    path = Path(path)
    try:
        with open(path, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                line = line.rstrip("\n")
                if line.endswith("\r"):
                    raise DataError(f"{path}:{number}: line ends in CRLF; convert it with: sed -i 's/\\r$//' {path}")
                if not line.strip():
                    raise DataError(f"{path}:{number}: empty line; remove it (utils/fix_data_dir.sh does)")
                yield number, line
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; prepare the data directory first (stage 1)") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a directory, expected a text file") from None
    except PermissionError:
        raise DataError(f"{path}: cannot be read; check its permissions") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); convert it with iconv") from None


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


def is_count(text: str) -> bool:
    """Whether ``text`` is a whole number of at most 18 digits, which 64 bits can hold."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def write_table(path: PathLike, table: Dict[str, str]) -> None:
    """Write ``id value`` lines in byte order of the ids, atomically."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with writing(temporary), open(temporary, "w", encoding="utf-8", newline="\n") as out:
        for key in sorted(table, key=lambda name: name.encode("utf-8")):
            out.write(f"{key} {table[key]}\n")
    temporary.replace(path)


def _number(text: str, where: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {what} must be a number in seconds, got {text!r}")
    return value


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
            raise DataError(f"{self.path}: no such data directory; prepare it first (stage 1)")
        source = "segments" if self.has("segments") else "wav.scp"
        self.utt_ids: List[str] = sorted(read_table(self.path / source), key=lambda name: name.encode("utf-8"))
        if not self.utt_ids:
            raise DataError(f"{self.path / source}: no utterances; the file is empty")

    def has(self, name: str) -> bool:
        """Whether the optional file ``name`` is there."""
        return (self.path / name).is_file()

    def wav(self) -> Dict[str, str]:
        """Recording id -> path, or archive and offset."""
        return read_table(self.path / "wav.scp")

    def segments(self) -> Dict[str, Segment]:
        """Utterance id -> stretch of a recording; the whole recording where there is no ``segments`` file."""
        if not self.has("segments"):
            return {utt: Segment(utt, 0.0, -1.0) for utt in self.utt_ids}
        recordings = self.wav()

        def parse(value: str, where: str) -> Segment:
            fields = value.split()
            if len(fields) != 3:
                raise DataError(f"{where}: expected 'utterance recording start end'")
            if fields[0] not in recordings:
                raise DataError(f"{where}: recording {fields[0]!r} is not in wav.scp")
            start, end = _number(fields[1], where, "start"), _number(fields[2], where, "end")
            if start < 0 or (end != -1 and end <= start):
                raise DataError(f"{where}: needs 0 <= start < end, got {start} and {end}")
            return Segment(fields[0], start, end)

        return self._parsed("segments", parse)

    def labels(self) -> Dict[str, List[str]]:
        """Utterance id -> labels of the whole clip (``utt2label``, comma-separated)."""

        def parse(value: str, where: str) -> List[str]:
            labels = value.split(",")
            if not all(label.strip() == label and label for label in labels):
                raise DataError(f"{where}: labels are separated by single commas without spaces, got {value!r}")
            return labels

        return self._parsed("utt2label", parse)

    def pitches(self) -> Dict[str, int]:
        """Utterance id -> MIDI note number (``utt2pitch``)."""

        def parse(value: str, where: str) -> int:
            if not is_count(value) or int(value) > 127:
                raise DataError(f"{where}: pitch must be a MIDI note number from 0 to 127, got {value!r}")
            return int(value)

        return self._parsed("utt2pitch", parse)

    def durations(self) -> Dict[str, float]:
        """Utterance id -> duration in seconds (``utt2dur``)."""
        return self._parsed("utt2dur", lambda value, where: _number(value, where, "duration"))

    def folds(self) -> Dict[str, int]:
        """Utterance id -> fold number of a k-fold set (``utt2fold``)."""

        def parse(value: str, where: str) -> int:
            if not is_count(value):
                raise DataError(f"{where}: fold must be a whole number, got {value!r}")
            return int(value)

        return self._parsed("utt2fold", parse)

    def events(self) -> Dict[str, List[Event]]:
        """Utterance id -> its events by onset (``events.tsv``); every utterance has an entry, maybe empty."""
        path = self.path / "events.tsv"
        events: Dict[str, List[Event]] = {utt: [] for utt in self.utt_ids}
        for number, line in read_lines(path):
            where, fields = f"{path}:{number}", line.split("\t")
            if number == 1:
                if fields != ["utt_id", "onset", "offset", "label"]:
                    raise DataError(f"{where}: the header must be utt_id, onset, offset, label separated by tabs")
                continue
            if len(fields) != 4:
                raise DataError(f"{where}: expected 4 tab-separated fields, got {len(fields)}")
            if fields[0] not in events:
                raise DataError(f"{where}: utterance {fields[0]!r} is not in this data directory")
            onset, offset = _number(fields[1], where, "onset"), _number(fields[2], where, "offset")
            if onset < 0 or offset <= onset or not fields[3]:
                raise DataError(f"{where}: needs 0 <= onset < offset and a label, got {line!r}")
            events[fields[0]].append(Event(onset, offset, fields[3]))
        return {utt: sorted(found) for utt, found in events.items()}

    def _parsed(self, name: str, parse: Callable[[str, str], Value]) -> Dict[str, Value]:
        """Parse the table ``name`` and check that it covers exactly this directory's utterances."""
        path = self.path / name
        table = read_table(path)
        parsed = {utt: parse(value, f"{path}:{number}") for number, (utt, value) in enumerate(table.items(), 1)}
        missing = [utt for utt in self.utt_ids if utt not in parsed]
        if missing:
            raise DataError(f"{path}: {len(missing)} utterance(s) have no line, the first is {missing[0]!r}")
        return {utt: parsed[utt] for utt in self.utt_ids}
