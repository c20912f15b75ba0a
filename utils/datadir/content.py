"""A data directory in memory, for copy, subset and combine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Set

from datadir.fix import sorted_events, spk2utt_of
from datadir.grammar import find_tables, other_files
from datadir.tables import UsageError, read_table, show, table_lines, write_lines
from ssltoolkit.data.tables import EVENTS, EVENTS_HEADER, HEADER_FAULT, check_event, table_of


class Content(NamedTuple):
    """`tables`: file name -> id -> value, without spk2utt; `events`: rows split at tabs."""

    tables: Dict[str, Dict[bytes, bytes]]
    events: Optional[List[List[bytes]]]

    def utterances(self) -> List[bytes]:
        """The utterance ids, sorted (C locale)."""
        for name in ("segments", "wav.scp", *self.tables):
            if name in self.tables:
                return sorted(self.tables[name])
        return []


def read(directory: Path) -> Content:
    """Reads `directory`; raises UsageError at a malformed line or without utterances."""
    names = [name for name in find_tables(directory) if name != "spk2utt"]
    tables = {}
    for name in names:
        tables[name] = read_table(directory / name)
        check = table_of(name).check
        for key, value in tables[name].items():
            fault = check(value)
            if fault is not None:
                raise UsageError(f"{directory / name}: {show(key)}: {fault}")
    content = Content(tables, _read_events(directory / EVENTS))
    if not content.utterances():
        raise UsageError(f"{directory}: no file here lists utterances; it needs a wav.scp")
    return content


def _read_events(path: Path) -> Optional[List[List[bytes]]]:
    if not path.is_file():
        return None
    lines = path.read_bytes().splitlines()
    if not lines or lines[0] != EVENTS_HEADER:
        raise UsageError(f"{path}:1: {HEADER_FAULT}")
    rows = [line.split(b"\t") for line in lines[1:]]
    for number, row in enumerate(rows, 2):
        fault = check_event(row)
        if fault is not None:
            raise UsageError(f"{path}:{number}: {fault}")
    return rows


def select(content: Content, utterances: Set[bytes]) -> Content:
    """`content` with only `utterances`, and in wav.scp only the recordings that they use."""
    recordings = utterances
    segments = content.tables.get("segments")
    if segments is not None:
        recordings = {v.split()[0] for u, v in segments.items() if u in utterances}
    tables = {}
    for name, table in content.tables.items():
        kept = recordings if table_of(name).key == "rec" else utterances
        tables[name] = {key: value for key, value in table.items() if key in kept}
    events = content.events
    if events is not None:
        events = [row for row in events if row[0] in utterances]
    return Content(tables, events)


def rename(content: Content, utterance: Callable[[bytes], bytes], speaker: Callable[[bytes], bytes]) -> Content:
    """`content` with new ids; with segments, recordings keep their ids."""
    tables = {}
    for name, table in content.tables.items():
        if table_of(name).key == "rec" and "segments" in content.tables:
            tables[name] = dict(table)
        elif name == "utt2spk":
            tables[name] = {utterance(key): speaker(value) for key, value in table.items()}
        else:
            tables[name] = {utterance(key): value for key, value in table.items()}
    events = content.events
    if events is not None:
        events = [[utterance(row[0]), *row[1:]] for row in events]
    return Content(tables, events)


def write(directory: Path, content: Content) -> List[str]:
    """Writes `content`, including spk2utt; returns the names of old files that it removed."""
    tables = dict(content.tables)
    if "utt2spk" in tables:
        tables["spk2utt"] = spk2utt_of(tables["utt2spk"])
    for name, table in tables.items():
        write_lines(directory / name, table_lines(table))
    if content.events is not None:
        write_lines(directory / EVENTS, [EVENTS_HEADER] + sorted_events(content.events))
    stale = [name for name in find_tables(directory) if name not in tables]
    if content.events is None and (directory / EVENTS).is_file():
        stale.append(EVENTS)
    for name in stale:
        (directory / name).unlink()
    return stale


def check_target(source: Path, target: Path) -> None:
    """Raises UsageError if `target` is `source` itself."""
    if source.resolve() == target.resolve():
        raise UsageError(f"{target}: the source and the target are the same directory")


def not_copied(source: Path, content: Content) -> List[str]:
    """One line for each file of `source` that is no table and no archive of its wav.scp (the copy points to those)."""
    values = content.tables.get("wav.scp", {}).values()
    paths = {value.rpartition(b":")[0] for value in values}
    archives = {Path(os.fsdecode(path)).resolve() for path in paths if path and b"|" not in path}
    names = [name for name in other_files(source) if (source / name).resolve() not in archives]
    return [f"{source / name}: not copied (not a data-directory file)" for name in names]


def removed(target: Path, stale: List[str]) -> List[str]:
    """One line for each file that `write` removed from `target`."""
    return [f"{target / name}: removed, left from an earlier run" for name in stale]
