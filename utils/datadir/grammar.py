"""The files of a data directory on disk; ssltoolkit/data/tables.py defines the format of their lines."""

from __future__ import annotations

from pathlib import Path
from typing import List

from datadir.tables import UsageError
from ssltoolkit.data.tables import EVENTS, TABLES, table_of


def find_tables(directory: Path) -> List[str]:
    """Names of the table files in `directory` (without events.tsv), wav.scp first.

    Raises UsageError if it is not a directory.
    """
    names = [path.name for path in files_of(directory) if table_of(path.name) is not None]
    order = list(TABLES)
    return sorted(names, key=lambda n: (order.index(n) if n in TABLES else len(order), n))


def files_of(directory: Path) -> List[Path]:
    """The files in `directory`, sorted, without hidden files and backups."""
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
