#!/usr/bin/env python3
"""Prints the lines of a table whose id is in a list, in the table's order.

  filter_scp.py [--exclude] [-f N] ID_LIST [TABLE] > OUT

ID_LIST is any table; its first column is the list. -f N compares column N of TABLE (from 1)
instead of the first; --exclude prints the other lines. TABLE defaults to standard input.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from datadir.arguments import Parser
from datadir.tables import UsageError, entries, open_table

from ssltoolkit.data.tables import line_fault


def main() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = Parser("filter_scp.py", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = argparse.SUPPRESS
    parser.add_argument("--exclude", action="store_true")
    parser.add_argument("-f", "--field", type=int, default=1, metavar="N")
    parser.add_argument("id_list", type=Path, metavar="ID_LIST")
    parser.add_argument("table", type=Path, nargs="?", default=Path("-"), metavar="TABLE")
    args = parser.parse_args()
    if args.field < 1:
        parser.error("-f counts columns from 1")
    try:
        wanted = {key for _, key, _ in entries(args.id_list)}
        sys.stdout.buffer.writelines(matching(args.table, wanted, args.field, args.exclude))
    except UsageError as error:
        sys.stdout.flush()
        parser.say(str(error))
        return 2
    return 0


def matching(table: Path, wanted, field: int, exclude: bool):
    """Yields the lines of `table` whose column `field` is in `wanted` (not in, if `exclude`)."""
    with open_table(table) as lines:
        for number, line in enumerate(lines, 1):
            fault = line_fault(line)
            if fault is not None:
                raise UsageError(f"{table}:{number}: {fault}; fix the file first")
            columns = line.split(None, field)
            if len(columns) < field:
                raise UsageError(f"{table}:{number}: there is no column {field}")
            if (columns[field - 1] in wanted) != exclude:
                yield line


if __name__ == "__main__":
    sys.exit(main())
