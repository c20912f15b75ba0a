"""validate_data_dir.sh: checks a data directory and reports every fault with file and line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set

from datadir.arguments import Parser
from datadir.grammar import find_tables
from datadir.tables import ProblemLog, entries, keys_with_lines, scan, show
from ssltoolkit.data.tables import (
    EVENTS,
    EVENTS_HEADER,
    HEADER_FAULT,
    check_event,
    check_wav,
    is_command,
    line_fault,
    table_of,
)

SHOWN_IDS = 5


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "validate_data_dir.sh",
        "Checks a data directory: columns, values, C-locale order, repeated ids, and that all files have the same "
        "utterances. Status 0: no faults; 1: faults, each reported with file and line; 2: bad usage.",
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--require", default="", metavar="FILE,...", help="required files")
    parser.add_argument("--no-wav", action="store_true", help="wav.scp may be missing")
    parser.add_argument("--no-feats", action="store_true", help="do not check feats.scp")
    parser.add_argument("--no-text", action="store_true", help="do not check text")
    parser.add_argument("--allow-pipes", action="store_true", help="wav.scp may contain commands, as for format")
    parser.add_argument("--check-audio", action="store_true", help="also check that every file in wav.scp exists")
    args = parser.parse_args(arguments)
    required = [name for name in args.require.split(",") if name]
    if not args.no_wav:
        required.insert(0, "wav.scp")
    skipped = {"feats.scp"} if args.no_feats else set()
    skipped |= {"text"} if args.no_text else set()
    log = ProblemLog()
    count = validate(args.data_dir, log, required, skipped, args.check_audio, args.allow_pipes)
    if log:
        log.report()
        count = sum(log.counts.values())
        parser.say(f"{args.data_dir}: {count} problems; fix_data_dir.sh fixes some")
        return 1
    print(f"validate_data_dir.sh: {args.data_dir}: no faults, {count} utterances")
    return 0


def validate(
    directory: Path,
    log: ProblemLog,
    required: Sequence[str] = ("wav.scp",),
    skipped: Optional[Set[str]] = None,
    check_audio: bool = False,
    allow_pipes: bool = False,
) -> int:
    """Logs every fault of `directory` and returns its number of utterances.

    Needs memory for two lists of ids at a time, about 300 MB for two million utterances.
    """
    names = [name for name in find_tables(directory) if name not in (skipped or ())]
    has_events = (directory / EVENTS).is_file()
    for name in required:
        if name not in names and not (name == EVENTS and has_events):
            log.add(directory / name, 0, "the file is missing")
    utterances = _check_base(directory, names, log, allow_pipes)
    for name in names:
        if name not in ("wav.scp", "segments", "spk2utt"):
            utterances = _check_utterance_table(directory, name, utterances, log)
    if utterances is None:
        log.add(directory, 0, "no file of this directory lists utterances")
    if "spk2utt" in names:
        _check_spk2utt(directory, "utt2spk" in names, log)
    if has_events:
        _check_events(directory, set(utterances or ()), log)
    if check_audio and "wav.scp" in names:
        _check_audio(directory / "wav.scp", log)
    return len(utterances or ())


def _no_command(value: bytes) -> Optional[str]:
    if is_command(value):
        return "a command (it ends in '|'), which is run only with --allow_pipes true"
    return check_wav(value)


def _check_base(directory: Path, names: Sequence[str], log: ProblemLog, allow_pipes: bool) -> Optional[List[bytes]]:
    """Checks wav.scp and segments; returns the utterances that they define, None if both are missing."""
    recordings = None
    if "wav.scp" in names:
        recordings = scan(directory / "wav.scp", check_wav if allow_pipes else _no_command, log)
    if "segments" not in names:
        return recordings
    path = directory / "segments"
    utterances = scan(path, table_of("segments").check, log)
    if recordings is not None:
        _check_recordings(path, set(recordings), log)
    return utterances


def _check_recordings(segments: Path, recordings: Set[bytes], log: ProblemLog) -> None:
    used = set()
    with open(segments, "rb") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if len(fields) != 4:
                continue  # reported by scan
            used.add(fields[1])
            if fields[1] not in recordings:
                log.add(segments, number, f"the recording {show(fields[1])} is not in wav.scp")
    unused = recordings - used
    if unused:
        log.add(segments.with_name("wav.scp"), 0, f"recordings without segments: {_some(unused)}")


def _check_utterance_table(
    directory: Path, name: str, utterances: Optional[List[bytes]], log: ProblemLog
) -> List[bytes]:
    path = directory / name
    ids = scan(path, table_of(name).check, log)
    if utterances is None or ids == utterances:
        return ids
    known, present = set(utterances), set(ids)
    if not known >= present:
        for number, key in keys_with_lines(path):
            if key not in known:
                log.add(path, number, f"{show(key)} is not an utterance of wav.scp or segments")
    missing = known - present
    if missing and table_of(name).complete:
        log.add(path, 0, f"no line for {len(missing)} utterances: {_some(missing)}")
    return utterances


def _check_spk2utt(directory: Path, has_utt2spk: bool, log: ProblemLog) -> None:
    path = directory / "spk2utt"
    scan(path, table_of("spk2utt").check, log)
    if not has_utt2spk:
        log.add(path, 0, "there is a spk2utt but no utt2spk; make one with spk2utt_to_utt2spk.py")
        return
    if path in log.counts or directory / "utt2spk" in log.counts:
        return  # only valid lines can be compared
    speaker_of: Dict[bytes, bytes] = {key: spk for _, key, spk in entries(directory / "utt2spk")}
    for number, speaker, value in entries(path):
        for utterance in value.split():
            if speaker_of.pop(utterance, None) != speaker:
                log.add(path, number, f"utt2spk does not give {show(utterance)} to {show(speaker)}")
    if speaker_of:
        log.add(path, 0, f"utterances of utt2spk are missing: {_some(set(speaker_of))}")


def _check_events(directory: Path, utterances: Set[bytes], log: ProblemLog) -> None:
    path = directory / EVENTS
    durations = _durations(directory / "utt2dur", log)
    previous = (b"", 0.0)
    with open(path, "rb") as lines:
        header = next(lines, b"")
        if header.rstrip(b"\r\n") != EVENTS_HEADER:
            log.add(path, 1, HEADER_FAULT)
        elif header != EVENTS_HEADER + b"\n":
            log.add(path, 1, line_fault(header))
        for number, line in enumerate(lines, 2):
            fields = line[:-1].split(b"\t")
            fault = line_fault(line) or check_event(fields)
            if fault is None and fields[0] not in utterances:
                fault = f"{show(fields[0])} is not an utterance of wav.scp or segments"
            if fault is None and float(fields[1]) >= durations.get(fields[0], float("inf")):
                fault = "the event starts after the end of its utterance (utt2dur)"
            if fault is not None:
                log.add(path, number, fault)
                continue
            here = (fields[0], float(fields[1]))
            if here < previous:
                log.add(path, number, "not in order of utterance (C locale) and onset")
            previous = here


def _durations(path: Path, log: ProblemLog) -> Dict[bytes, float]:
    if not path.is_file() or path in log.counts:
        return {}
    return {key: float(value) for _, key, value in entries(path)}


def _check_audio(path: Path, log: ProblemLog) -> None:
    known: Dict[bytes, bool] = {}  # consecutive lines often have the same archive
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            parts = line.split(None, 1)
            if len(parts) != 2:
                continue  # reported by scan
            name = parts[1].rstrip()
            archive, _, offset = name.rpartition(b":")
            name = archive if offset.isdigit() and archive else name
            if is_command(name):
                continue
            if name not in known:
                known = {name: os.path.isfile(name)}
            if not known[name]:
                log.add(path, number, f"no such audio file: {show(name)}")


def _some(ids: Set[bytes]) -> str:
    shown = ", ".join(show(key) for key in sorted(ids)[:SHOWN_IDS])
    return shown if len(ids) <= SHOWN_IDS else f"{shown} and {len(ids) - SHOWN_IDS} more"
