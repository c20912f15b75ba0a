"""Which files a data directory has, what keys them, and what one line of each holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from datadir.tables import Check, UsageError

EVENTS = "events.tsv"
EVENTS_HEADER = b"utt_id\tonset\toffset\tlabel"
HEADER_FAULT = "the header is not utt_id<TAB>onset<TAB>offset<TAB>label"


class Table(NamedTuple):
    """`key`: what the first column names, `utt`, `rec` (recording) or `spk`."""

    key: str
    check: Check


def _not_number(raw: bytes) -> bool:
    try:
        # float() also takes 1_000, which other readers of these files refuse
        return not math.isfinite(float(raw)) or b"_" in raw
    except ValueError:
        return True


def _integer(raw: bytes, low: int, high: Optional[int] = None) -> bool:
    digits = raw[1:] if raw[:1] == b"-" else raw
    if not digits.isdigit():
        return False
    return int(raw) >= low and (high is None or int(raw) <= high)


def check_wav(value: bytes) -> Optional[str]:
    if not value:
        return "no path after the id"
    if value.endswith(b"|"):
        return "a command (it ends in '|'); commands are not run, write the audio to a file"
    return None


def check_feats(value: bytes) -> Optional[str]:
    path, colon, offset = value.rpartition(b":")
    if not (path and colon and offset.isdigit()):
        return "the value is not of the form ARK:OFFSET"
    return None


def check_segment(value: bytes) -> Optional[str]:
    fields = value.split()
    if len(fields) != 3:
        return f"{len(fields) + 1} columns where 4 are expected (utterance recording start end)"
    if _not_number(fields[1]) or _not_number(fields[2]):
        return "start and end must be numbers of seconds"
    if not 0 <= float(fields[1]) < float(fields[2]):
        return "start and end must satisfy 0 <= start < end"
    return None


def check_one_word(value: bytes) -> Optional[str]:
    count = len(value.split())
    return None if count == 1 else f"{count + 1} columns where 2 are expected"


def check_words(value: bytes) -> Optional[str]:
    return None if value else "nothing after the id"


def check_anything(value: bytes) -> Optional[str]:
    return None


def check_labels(value: bytes) -> Optional[str]:
    labels = value.split(b",")
    if any(not label or label != label.strip() for label in labels):
        return "labels must be of the form label[,label...], without empty ones"
    if len(set(labels)) != len(labels):
        return "a label is given twice"
    return None


def check_pitch(value: bytes) -> Optional[str]:
    return None if _integer(value, 0, 127) else "the pitch must be a MIDI number, 0 to 127"


def check_duration(value: bytes) -> Optional[str]:
    if _not_number(value) or float(value) <= 0:
        return "the duration must be a number of seconds above 0"
    return None


def check_num_samples(value: bytes) -> Optional[str]:
    return None if _integer(value, 1) else "the number of samples must be an integer above 0"


def check_fold(value: bytes) -> Optional[str]:
    return None if _integer(value, 0) else "the fold must be an integer, 0 or more"


def check_event(fields: List[bytes]) -> Optional[str]:
    """Checks one row of `events.tsv`, split at its tabs."""
    if len(fields) != 4:
        return f"{len(fields)} columns where 4 are expected, separated by tabs"
    if not fields[0] or not fields[3] or fields[3] != fields[3].strip():
        return "the utterance and the label must be given, without spaces around them"
    if _not_number(fields[1]) or _not_number(fields[2]):
        return "onset and offset must be numbers of seconds"
    if not 0 <= float(fields[1]) < float(fields[2]):
        return "onset and offset must satisfy 0 <= onset < offset"
    return None


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
    "feats.scp": Table("utt", check_feats),
    "text": Table("utt", check_anything),
}


def table_of(name: str) -> Optional[Table]:
    """The table a file name stands for; any other `utt2*` file is one value per utterance."""
    if name in TABLES:
        return TABLES[name]
    return Table("utt", check_words) if name.startswith("utt2") else None


def find_tables(directory: Path) -> List[str]:
    """Names of the table files in `directory` (events.tsv not among them), wav.scp first.

    Raises UsageError if it is no directory.
    """
    names = [path.name for path in files_of(directory) if table_of(path.name) is not None]
    order = list(TABLES)
    return sorted(names, key=lambda n: (order.index(n) if n in TABLES else len(order), n))


def files_of(directory: Path) -> List[Path]:
    """The files in `directory`, hidden ones and backups left out, sorted."""
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such data directory; check the path")
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith("~")
    )


def other_files(directory: Path) -> List[str]:
    """Names of the files in `directory` that are not part of a data directory."""
    names = (path.name for path in files_of(directory))
    return [name for name in names if name != EVENTS and table_of(name) is None]
