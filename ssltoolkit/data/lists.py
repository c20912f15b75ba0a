"""Data directories of an evaluation task from a user's label list in TSV form."""

from __future__ import annotations

import csv
import io
import re
import sys
import unicodedata
from pathlib import Path
from typing import Dict, Iterable, List, Sequence, Tuple

from ssltoolkit.data.contents import is_system_file
from ssltoolkit.data.datadir import write_table
from ssltoolkit.data.labels import Files, LabelTable, PathLike, Row
from ssltoolkit.errors import DataError
from ssltoolkit.registry import REGISTRY
from ssltoolkit.text import read_text

SPLITS = ("train", "valid", "test")


def labels_of(kind: str) -> LabelTable:
    """The label file of a registered kind of task."""
    return REGISTRY.component("task", kind).factory.labels


def read_list(path: PathLike, kind: str) -> List[Row]:
    """Rows of a label list: tab-separated, with a header of ``path``, the columns of its kind, and ``split``.

    Paths are relative to the list's folder; ``where`` is added to each row for later errors. Rows of system files
    (``._NAME``, which macOS adds to folders) are left out with a warning.

    Raises:
        DataError: not UTF-8, missing columns, a bad split, time, pitch or label, a file that does not exist, or a file
            in two splits; names the line.
    """
    path, labels = Path(path), labels_of(kind)
    needed = ("path", *labels.columns, "split")
    rows: List[Row] = []
    split_of: Dict[str, Tuple[str, str]] = {}
    left_out: List[Row] = []
    try:
        text = read_text(path)
        if "\0" in text:
            raise DataError(
                f"{path}:{text[: text.index(chr(0))].count(chr(10)) + 1}: contains a NUL byte; save the list again as "
                "UTF-8 text"
            )
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{path}:1: the header needs the tab-separated columns {', '.join(needed)}; missing: "
                f"{', '.join(missing)}"
            )
        for row in reader:
            row["where"] = f"{path}:{reader.line_num}"
            if row["path"] and is_system_file(Path(Path(row["path"]).name)) and Path(row["path"]).name.startswith("._"):
                left_out.append(row)
                continue
            _check_row(row, needed, path.parent)
            labels.check_row(row)
            split, first = split_of.setdefault(row["path"], (row["split"], row["where"]))
            if split != row["split"]:
                raise DataError(
                    f"{row['where']}: {row['path']} is of split {row['split']}, and of {split} in {first}; keep one"
                )
            rows.append(row)
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot read this list: {error}") from None
    if left_out:
        print(
            f"warning: {len(left_out)} row(s) of {path} left out: system files of macOS, no audio, first "
            f"{left_out[0]['where']}",
            file=sys.stderr,
        )
    if not rows:
        raise DataError(f"{path}: no rows below the header")
    _check_spellings(rows, labels)
    return rows


def _check_row(row: Row, needed: Sequence[str], folder: Path) -> None:
    if any(row.get(name) is None for name in needed) or not row["path"]:
        raise DataError(f"{row['where']}: expected the columns {', '.join(needed)}")
    if row["split"] not in SPLITS:
        raise DataError(f"{row['where']}: split must be train, valid or test, got {row['split']!r}")
    try:
        file = (folder / row["path"]).resolve()
        there = file.is_file()
    except (OSError, ValueError) as error:
        raise DataError(f"{row['where']}: {row['path']!r} is not a valid file name ({error})") from None
    if not there:
        raise DataError(f"{row['where']}: no such file {file}")
    row["path"] = str(file)


def _check_spellings(rows: Iterable[Row], labels: LabelTable) -> None:
    """Reject labels that look the same in different Unicode forms (composed, decomposed): they would be two classes."""
    first: Dict[str, Tuple[str, str]] = {}
    for row in rows:
        for label in labels.names(row):
            known, where = first.setdefault(unicodedata.normalize("NFC", label), (label, row["where"]))
            if known != label:
                raise DataError(
                    f"{row['where']}: label {label!r} looks like that of {where} but uses other Unicode "
                    "characters; write both the same way"
                )


def _check_test_labels(rows: Sequence[Row], labels: LabelTable) -> None:
    """Reject test labels that no probe could learn now: the evaluation would reject them only after training."""
    known = {label for row in rows if row["split"] != "test" for label in labels.names(row)}
    unknown: Dict[str, str] = {}
    for row in rows:
        for label in labels.names(row):
            if label not in known:
                unknown.setdefault(label, row["where"])
    if unknown:
        where, names = next(iter(unknown.values())), ", ".join(sorted(unknown)[:5])
        raise DataError(
            f"{where}: {len(unknown)} {labels.columns[-1]}(s) of test are in neither train nor valid ({names}); "
            "correct them, or move such files to train"
        )


def write_task(list_path: PathLike, kind: str, out_dir: PathLike) -> List[Path]:
    """Write data directories ``train``, ``valid`` and ``test`` of one evaluation task from its list.

    The task's label file, such as :class:`ssltoolkit.data.event_labels.EventLabels`, defines columns, checks and
    changes.

    Returns:
        the resolved paths of the test files.

    Raises:
        DataError: malformed list, test labels that no probe can learn, an event after the end of its recording, or a
            split without any event; names the line.
    """
    splits: Dict[str, Files] = {split: {} for split in SPLITS}
    rows, labels = read_list(list_path, kind), labels_of(kind)
    for row in rows:
        splits[row["split"]].setdefault(row["path"], []).append(row)
    for split, files in splits.items():
        if not files:
            raise DataError(f"{list_path}: no file of split {split!r}; a task needs train, valid and test")
    _check_test_labels(rows, labels)
    labels.tidy(list_path, splits, Path(out_dir))
    for split, files in splits.items():
        _write_split(files, labels, Path(out_dir) / split)
    return [Path(path) for path in splits["test"]]


def _write_split(files: Files, labels: LabelTable, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    width = len(str(len(files)))
    ids = {
        path: f"{number:0{width}d}-{re.sub(r'[^0-9A-Za-z._-]+', '_', Path(path).stem)}"
        for number, path in enumerate(files)
    }
    write_table(folder / "wav.scp", {ids[path]: path for path in files})
    labels.write(files, ids, folder)
