"""fix_data_dir.sh: repairs a data directory; replaced files are kept in .backup."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set, Tuple

from datadir.arguments import Parser
from datadir.grammar import find_tables
from datadir.tables import (
    ProblemLog,
    UsageError,
    open_table,
    show,
    table_lines,
    write_lines,
)
from ssltoolkit.data.tables import (
    EVENTS,
    EVENTS_HEADER,
    HEADER_FAULT,
    check_event,
    line_fault,
    table_of,
)
from ssltoolkit.text import BOM

Rows = Dict[str, Dict[bytes, bytes]]  # file name -> id -> value


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "fix_data_dir.sh",
        "Repairs a data directory: sorts (C locale), removes Windows line ends and stray spaces, "
        "removes empty and repeated lines and utterances that are not in every file, and writes "
        "spk2utt again. Each removal is reported; changed files are kept in .backup. A line that "
        "cannot be read is never removed: it is reported, and nothing is changed.",
    )
    parser.add_argument("data_dir", type=Path)
    args = parser.parse_args(arguments)
    dropped, unread = ProblemLog(), ProblemLog()
    try:
        changed, count = fix(args.data_dir, dropped, unread)
    except UsageError:
        unread.report()
        raise
    dropped.report()
    for name, before, after in changed:
        print(f"fix_data_dir.sh: {args.data_dir / name}: {before} -> {after} lines")
    state = "unchanged" if not changed else "the old files are in .backup"
    print(f"fix_data_dir.sh: {args.data_dir}: {count} utterances; {state}")
    return 0


def fix(directory: Path, dropped: ProblemLog, unread: ProblemLog) -> Tuple[List[Tuple[str, int, int]], int]:
    """Repairs `directory`; logs removed lines in `dropped`, lines it cannot read in `unread`.

    Returns (file, lines before, lines after) of each changed file, and the number of
    utterances. Raises UsageError, with nothing changed, if the fix is not clear: a line
    that cannot be read, one id with two different values, or no utterance left.
    """
    names = find_tables(directory)
    tables: Rows = {name: _read(directory / name, dropped, unread) for name in names}
    events = None
    if (directory / EVENTS).is_file():
        events = _read_events(directory / EVENTS, dropped, unread)
    if unread:
        raise UsageError(
            f"{directory}: {sum(unread.counts.values())} lines cannot be read, see above; correct "
            "them by hand and run this again; nothing changed"
        )
    if "spk2utt" in tables and "utt2spk" not in tables:
        tables["utt2spk"] = utt2spk_of(directory / "spk2utt", tables["spk2utt"])
    utterances = _common_utterances(directory, tables)
    _keep_only(directory, tables, utterances, dropped)
    if "utt2spk" in tables:
        tables["spk2utt"] = spk2utt_of(tables["utt2spk"])
    contents = {name: table_lines(table) for name, table in tables.items()}
    if events is not None:
        kept = _events_of(directory / EVENTS, events, utterances, dropped)
        contents[EVENTS] = [EVENTS_HEADER] + sorted_events(kept)
    changed = []
    for name, lines in contents.items():
        change = _replace(directory / name, lines)
        if change is not None:
            changed.append((name, *change))
    return changed, len(utterances)


def spk2utt_of(utt2spk: Dict[bytes, bytes]) -> Dict[bytes, bytes]:
    """speaker -> its utterances in C-locale order, separated by spaces."""
    lists: Dict[bytes, List[bytes]] = {}
    for utterance in sorted(utt2spk):
        lists.setdefault(utt2spk[utterance], []).append(utterance)
    return {speaker: b" ".join(members) for speaker, members in lists.items()}


def utt2spk_of(path: Path, spk2utt: Dict[bytes, bytes]) -> Dict[bytes, bytes]:
    """utterance -> speaker; raises UsageError (naming `path`) for an utterance of two speakers."""
    speaker_of: Dict[bytes, bytes] = {}
    for speaker, value in spk2utt.items():
        for utterance in value.split():
            if speaker_of.setdefault(utterance, speaker) != speaker:
                raise UsageError(
                    f"{path}: {show(utterance)} belongs to both {show(speaker_of[utterance])} "
                    f"and {show(speaker)}; remove it from one of the two lines"
                )
    return speaker_of


def _read(path: Path, dropped: ProblemLog, unread: ProblemLog) -> Dict[bytes, bytes]:
    check = table_of(path.name).check
    table: Dict[bytes, bytes] = {}
    first_line: Dict[bytes, int] = {}
    with open_table(path) as stream:
        content = stream.read()
    for number, raw in enumerate(content.split(b"\n"), 1):
        line = _clean(raw, number)
        if not line:
            if raw:
                dropped.add(path, number, "empty line removed")
            continue
        parts = line.split(None, 1)
        key, value = parts[0], parts[1] if len(parts) == 2 else b""
        fault = line_fault(line + b"\n") or check(value)
        if fault is not None:
            unread.add(path, number, fault)
        elif table.get(key, value) != value:
            raise UsageError(
                f"{path}:{number}: {show(key)} has a different value at line {first_line[key]}; "
                "remove one of the two lines by hand"
            )
        elif key in table:
            dropped.add(path, number, f"repeated line of {show(key)} removed")
        else:
            table[key] = value
            first_line[key] = number
    return table


def _clean(raw: bytes, number: int) -> bytes:
    if number == 1 and raw.startswith(BOM):
        raw = raw[len(BOM) :]
    return raw.strip()


def _limits(name: str) -> bool:
    table = table_of(name)
    return table.key == "utt" and table.complete


def _common_utterances(directory: Path, tables: Rows) -> Set[bytes]:
    sets = {n: set(t) for n, t in tables.items() if _limits(n)}
    if "segments" in tables and "wav.scp" in tables:
        recordings = tables["wav.scp"]
        segments = tables["segments"]
        sets["wav.scp"] = {u for u, value in segments.items() if value.split()[0] in recordings}
    elif "wav.scp" in tables:
        sets["wav.scp"] = set(tables["wav.scp"])
    if not sets:
        raise UsageError(f"{directory}: no file here lists utterances; it needs a wav.scp")
    common = set.intersection(*sets.values())
    if not common:
        sizes = ", ".join(f"{name} {len(ids)}" for name, ids in sets.items())
        raise UsageError(f"{directory}: no utterance is in every file ({sizes}); nothing changed")
    return common


def _keep_only(directory: Path, tables: Rows, utterances: Set[bytes], dropped: ProblemLog) -> None:
    """Removes lines of other utterances than `utterances` from every table."""
    recordings = utterances
    if "segments" in tables:
        segments = tables["segments"]
        recordings = {segments[utterance].split()[0] for utterance in utterances}
    for name, table in tables.items():
        key_kind = table_of(name).key
        if key_kind == "spk":
            continue
        kept = utterances if key_kind == "utt" else recordings
        for key in [key for key in table if key not in kept]:
            del table[key]
            dropped.add(directory / name, 0, f"{show(key)} removed: other files do not have it")


def _read_events(path: Path, dropped: ProblemLog, unread: ProblemLog) -> List[Tuple[int, List[bytes]]]:
    rows = []
    for number, raw in enumerate(path.read_bytes().split(b"\n"), 1):
        line = _clean(raw, number)
        if number == 1:
            if line != EVENTS_HEADER:
                raise UsageError(f"{path}:1: {HEADER_FAULT}")
            continue
        fields = [field.strip() for field in line.split(b"\t")]
        if not line:
            if raw:
                dropped.add(path, number, "empty line removed")
            continue
        fault = line_fault(line + b"\n") or check_event(fields)
        if fault is not None:
            unread.add(path, number, fault)
        else:
            rows.append((number, fields))
    return rows


def _events_of(
    path: Path, rows: List[Tuple[int, List[bytes]]], utterances: Set[bytes], dropped: ProblemLog
) -> List[List[bytes]]:
    kept = []
    for number, fields in rows:
        if fields[0] in utterances:
            kept.append(fields)
        else:
            dropped.add(path, number, f"line removed: {show(fields[0])} is not in every file")
    return kept


def sorted_events(rows: List[List[bytes]]) -> List[bytes]:
    """The lines of event rows in order of utterance (C locale), onset, offset and label."""
    rows = sorted(rows, key=lambda row: (row[0], float(row[1]), float(row[2]), row[3]))
    return [b"\t".join(row) for row in rows]


def _replace(path: Path, lines: List[bytes]) -> Optional[Tuple[int, int]]:
    """If the file differs, backs it up and writes `lines`; returns its line counts, else None."""
    old = path.read_bytes() if path.is_file() else b""
    if old == b"".join(line + b"\n" for line in lines):
        return None
    if old:
        backup = path.parent / ".backup"
        backup.mkdir(exist_ok=True)
        shutil.copy2(path, _free_name(backup / path.name))
    write_lines(path, lines)
    return len(old.splitlines()), len(lines)


def _free_name(path: Path) -> Path:
    """`path`, or `path` with the next free number: earlier backups are never overwritten."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free
