#!/usr/bin/env python3
"""Splits a table into parts of equal size (up to one line), in order.

  split_scp.py [--utt2spk FILE] IN OUT1 OUT2 ...     all parts
  split_scp.py [--utt2spk FILE] -j N J IN [OUT]      part J of N, counted from 0
  split_scp.py --one-based -j N J IN [OUT]           part J of N, counted from 1

With --utt2spk the lines of a speaker stay in one part (they must be adjacent in IN).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Iterator, List, Optional

from datadir.arguments import Parser
from datadir.tables import UsageError, open_table, read_table, show

from ssltoolkit.data.tables import line_fault


def main() -> int:
    parser = Parser("split_scp.py", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = argparse.SUPPRESS
    parser.add_argument("--utt2spk", type=Path, metavar="FILE")
    parser.add_argument("-j", "--job", type=int, nargs=2, metavar=("N", "J"))
    parser.add_argument("--one-based", action="store_true")
    parser.add_argument("table", type=Path, metavar="IN")
    parser.add_argument("outputs", nargs="*", metavar="OUT")
    args = parser.parse_args()
    try:
        if args.job is None:
            if not args.outputs:
                parser.error("name the output files, or one part with -j N J")
            parts, outputs = len(args.outputs), args.outputs
        else:
            parts, outputs = args.job[0], _one_output(parser, args)
        split(args.table, parts, outputs, args.utt2spk)
    except UsageError as error:
        parser.say(str(error))
        return 2
    return 0


def _one_output(parser: Parser, args) -> List[Optional[str]]:
    parts, job = args.job[0], args.job[1] - (1 if args.one_based else 0)
    if not 0 <= job < parts:
        first = 1 if args.one_based else 0
        parser.error(f"-j {parts} {args.job[1]}: J must be {first} to {parts - 1 + first}")
    if len(args.outputs) > 1:
        parser.error("one part goes to one file; give one OUT or none")
    return [None] * job + [args.outputs[0] if args.outputs else "-"] + [None] * (parts - job - 1)


def split(table: Path, parts: int, outputs: List[Optional[str]], utt2spk: Optional[Path]) -> None:
    """Writes part i of `table` to `outputs[i]`; None skips a part, `-` is standard output.

    Without utt2spk the table is streamed. Raises UsageError for a malformed line, or fewer
    lines (speakers) than parts.
    """
    if str(table) == "-":
        raise UsageError("IN must be a file, it is read twice")
    sizes = _speaker_sizes(table, parts, utt2spk) if utt2spk else _even_sizes(table, parts)
    with open_table(table) as lines:
        for size, name in zip(sizes, outputs):
            chunk = itertools.islice(lines, size)
            if name is None:
                for _ in chunk:
                    pass
            elif name == "-":
                sys.stdout.buffer.writelines(chunk)
            else:
                with open(name, "wb", buffering=1 << 20) as out:
                    out.writelines(chunk)


def _checked_lines(table: Path) -> Iterator[bytes]:
    with open_table(table) as lines:
        for number, line in enumerate(lines, 1):
            fault = line_fault(line)
            if fault is not None:
                raise UsageError(f"{table}:{number}: {fault}; fix the file first")
            yield line


def _even_sizes(table: Path, parts: int) -> List[int]:
    count = sum(1 for _ in _checked_lines(table))
    if count < parts:
        raise UsageError(f"{table}: {count} lines cannot fill {parts} parts; ask for fewer")
    return [count * (i + 1) // parts - count * i // parts for i in range(parts)]


def _speaker_sizes(table: Path, parts: int, utt2spk: Path) -> List[int]:
    speaker_of = read_table(utt2spk)
    blocks: List[int] = []
    seen = {}
    previous = None
    for number, line in enumerate(_checked_lines(table), 1):
        key = line.split(None, 1)[0]
        if key not in speaker_of:
            raise UsageError(f"{table}:{number}: {show(key)} is not in {utt2spk}")
        speaker = speaker_of[key]
        if speaker != previous:
            if speaker in seen:
                raise UsageError(
                    f"{table}:{number}: speaker {show(speaker)} also at line {seen[speaker]}, "
                    "not together; sort the table by speaker"
                )
            blocks.append(0)
        seen[speaker] = number
        previous = speaker
        blocks[-1] += 1
    if len(blocks) < parts:
        raise UsageError(f"{table}: {len(blocks)} speakers cannot fill {parts} parts; ask for fewer")
    return _group(blocks, parts)


def _group(blocks: List[int], parts: int) -> List[int]:
    """Sizes of `parts` runs of whole blocks, none empty, each as close as possible to an even share."""
    ends = list(itertools.accumulate(blocks))
    sizes, start = [], 0
    for part in range(parts):
        last = len(blocks) - (parts - part)  # leaves one block for each later part
        goal = ends[-1] * (part + 1) / parts
        stop = start
        while stop < last and abs(ends[stop + 1] - goal) <= abs(ends[stop] - goal):
            stop += 1
        sizes.append(ends[stop] - (ends[start - 1] if start else 0))
        start = stop + 1
    return sizes


if __name__ == "__main__":
    sys.exit(main())
