"""Reading, checking and writing of `id value` tables.

Everything is bytes: sorting bytes is C-locale sorting, and ids may be in any script.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Tuple

from ssltoolkit.data.tables import Check, line_fault
from ssltoolkit.errors import UserError
from ssltoolkit.text import not_utf8, other_encoding


class UsageError(UserError):
    """Bad usage or unusable input; ends a helper with status 2."""


class Problem(NamedTuple):
    """One problem; `line` 0 means the whole file."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else f"{self.path}"
        return f"{where}: {self.text}"


class ProblemLog:
    """Collects problems in bounded memory: the first `keep` of each file, and their number."""

    def __init__(self, keep: int = 10) -> None:
        self.keep = keep
        self.kept: Dict[Path, List[Problem]] = {}
        self.counts: Dict[Path, int] = {}

    def add(self, path: Path, line: int, text: str) -> None:
        self.counts[path] = self.counts.get(path, 0) + 1
        kept = self.kept.setdefault(path, [])
        if len(kept) < self.keep:
            kept.append(Problem(path, line, text))

    def __bool__(self) -> bool:
        return bool(self.counts)

    def report(self, stream=None) -> None:
        stream = sys.stderr if stream is None else stream
        for path, kept in self.kept.items():
            for problem in kept:
                print(problem, file=stream)
            if self.counts[path] > len(kept):
                print(f"{path}: and {self.counts[path] - len(kept)} more", file=stream)


def show(raw: bytes, limit: int = 80) -> str:
    """`raw` as text for a message, shortened, with unprintable bytes escaped."""
    text = raw.decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def entries(path: Path) -> Iterator[Tuple[int, bytes, bytes]]:
    """Yields (line number, id, value) of a table; raises UsageError at the first bad line."""
    with open_table(path) as lines:
        for number, line in enumerate(lines, 1):
            fault = line_fault(line)
            if fault is not None:
                raise UsageError(f"{path}:{number}: {fault}; fix the file first")
            parts = line.split(None, 1)
            yield number, parts[0], parts[1][:-1] if len(parts) == 2 else b""


def read_table(path: Path) -> Dict[bytes, bytes]:
    """id -> value in the order of the file; raises UsageError for bad lines and repeated ids."""
    table: Dict[bytes, bytes] = {}
    for number, key, value in entries(path):
        if key in table:
            raise UsageError(f"{path}:{number}: the id {show(key)} is repeated; remove one line")
        table[key] = value
    return table


def open_table(path: Path):
    """Opens `path` for reading bytes; `-` is standard input."""
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        stream = open(path, "rb", buffering=1 << 20)
        if (other_encoding(stream.peek(2000)[:2000]) or "").startswith("UTF-"):
            raise UsageError(not_utf8(path, stream.peek(2000)[:2000]))
        return stream
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def scan(path: Path, check: Check, log: ProblemLog) -> List[bytes]:
    """Checks a table line by line and logs problems; returns its ids in order.

    Problems are lines rejected by `line_fault` or `check`, ids out of C-locale order, and repeated ids.
    """
    ids: List[bytes] = []
    previous = b""
    in_order = True
    with open_table(path) as lines:
        for number, line in enumerate(lines, 1):
            fault = line_fault(line)
            parts = line.split(None, 1)
            if fault is None:
                fault = check(parts[1][:-1] if len(parts) == 2 else b"")
            if fault is not None:
                log.add(path, number, fault)
            if not parts:
                continue
            # Count the id of a faulty line too: otherwise it would also be reported as missing.
            key = parts[0]
            ids.append(key)
            if key <= previous and len(ids) > 1:
                _log_order(path, number, key, previous, in_order, log)
                in_order = False
            previous = key
    if not ids and path not in log.counts:
        log.add(path, 0, "the file is empty")
    if not in_order:
        _log_repeats(path, ids, log)
    return ids


def _log_order(path: Path, number: int, key: bytes, previous: bytes, first: bool, log: ProblemLog) -> None:
    # Report only the first one: after it nearly every line is out of order.
    if first and key < previous:
        log.add(path, number, f"not in C-locale order: {show(key)} after {show(previous)}")


def _log_repeats(path: Path, ids: List[bytes], log: ProblemLog) -> None:
    if len(set(ids)) == len(ids):
        return
    seen = set()
    for number, key in keys_with_lines(path):
        if key in seen:
            log.add(path, number, f"the id {show(key)} is repeated")
        seen.add(key)


def keys_with_lines(path: Path) -> Iterator[Tuple[int, bytes]]:
    """Yields (line number, id) of the lines from which `scan` takes ids."""
    with open_table(path) as lines:
        for number, line in enumerate(lines, 1):
            parts = line.split(None, 1)
            if parts:
                yield number, parts[0]


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Writes `lines` (without newlines) to `path` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", buffering=1 << 20) as out:
            out.writelines(line + b"\n" for line in lines)
        os.replace(temporary, path)
    finally:
        if temporary.exists():
            temporary.unlink()


def table_lines(table: Dict[bytes, bytes]) -> List[bytes]:
    """The lines of `table`, sorted by id."""
    return [b"%s %s" % (key, table[key]) if table[key] else key for key in sorted(table)]
