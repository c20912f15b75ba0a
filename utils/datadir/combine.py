"""combine_data.sh: joins data directories into one."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence

from datadir import content
from datadir.arguments import Parser
from datadir.tables import UsageError, show
from ssltoolkit.data.tables import EVENTS


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "combine_data.sh",
        "Joins data directories. A file is joined if every source has it; if only some sources "
        "have segments, those of the others are made from their utt2dur.",
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("sources", type=Path, nargs="+", metavar="source")
    args = parser.parse_args(arguments)
    for source in args.sources:
        content.check_target(source, args.target)
    contents = [content.read(source) for source in args.sources]
    contents = _with_segments(args.sources, contents)
    for line in _left_out(args.sources, contents):
        parser.say(line)
    joined = _join(args.sources, contents)
    stale = content.write(args.target, joined)
    lines = [line for source, one in zip(args.sources, contents) for line in content.not_copied(source, one)]
    for line in lines + content.removed(args.target, stale):
        parser.say(line)
    print(f"combine_data.sh: {len(joined.utterances())} utterances from {len(contents)} directories to {args.target}")
    return 0


def _with_segments(sources: Sequence[Path], contents: List[content.Content]) -> List[content.Content]:
    if not any("segments" in one.tables for one in contents):
        return contents
    completed = []
    for source, one in zip(sources, contents):
        if "segments" not in one.tables:
            durations = one.tables.get("utt2dur")
            if durations is None:
                raise UsageError(
                    f"{source}: has neither segments (other sources do) nor utt2dur; run get_utt2dur.sh {source} first"
                )
            segments = {u: b"%s 0 %s" % (u, durations[u]) for u in one.utterances()}
            one = content.Content({**one.tables, "segments": segments}, one.events)
        completed.append(one)
    return completed


def _left_out(sources: Sequence[Path], contents: List[content.Content]) -> List[str]:
    every = [set(one.tables) for one in contents]
    for names, one in zip(every, contents):
        if one.events is not None:
            names.add(EVENTS)
    lines = []
    for name in sorted(set.union(*every) - set.intersection(*every)):
        without = ", ".join(str(s) for s, names in zip(sources, every) if name not in names)
        lines.append(f"{name}: not joined, missing in {without}")
    return lines


def _join(sources: Sequence[Path], contents: List[content.Content]) -> content.Content:
    shared = [n for n in contents[0].tables if all(n in one.tables for one in contents)]
    if not shared:
        raise UsageError("the sources have no file in common; nothing to join")
    tables: Dict[str, Dict[bytes, bytes]] = {}
    for name in shared:
        joined: Dict[bytes, bytes] = {}
        for source, one in zip(sources, contents):
            for key, value in one.tables[name].items():
                if joined.setdefault(key, value) != value:
                    raise UsageError(
                        f"{source / name}: {show(key)} has a different value in an earlier source; "
                        "give the ids a prefix with copy_data_dir.sh --utt-prefix"
                    )
        tables[name] = joined
    events = None
    if all(one.events is not None for one in contents):
        # An utterance in two sources has the same rows twice.
        rows = {tuple(row) for one in contents for row in one.events}
        events = [list(row) for row in rows]
    return content.Content(tables, events)
