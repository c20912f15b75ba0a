"""Data directories of an evaluation task from a user's label list in TSV form."""

from __future__ import annotations

import csv
import io
import re
import sys
import unicodedata
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from ssltoolkit.data.audio import duration
from ssltoolkit.data.contents import is_system_file
from ssltoolkit.data.datadir import Event, write_table
from ssltoolkit.data.formatting import CLIPPED, clipped, write_clipped
from ssltoolkit.data.tables import EVENTS, EVENTS_HEADER, check_label, check_labels, check_pitch, check_times
from ssltoolkit.errors import DataError
from ssltoolkit.text import read_text

PathLike = Union[str, Path]
SPLITS = ("train", "valid", "test")
#: kind of task -> columns of its list, besides path and split
COLUMNS = {"clip": ("label",), "sed": ("onset", "offset", "label"), "pitch": ("midi",)}
#: list of the events that others of their class overlap
MERGED = "merged_events.txt"


def read_list(path: PathLike, kind: str) -> List[Dict[str, str]]:
    """Rows of a label list: tab-separated, with a header of ``path``, the columns of its kind, and ``split``.

    Paths are relative to the list's folder; ``where`` is added to each row for later errors. Rows of system files (``._NAME``,
    which a Mac adds to folders) are left out with a warning.

    Raises:
        DataError: another encoding than UTF-8, missing columns, a bad split, time, pitch or label, a file that does not exist, or
            one of two splits; names the line.
    """
    path, needed = Path(path), ("path", *COLUMNS[kind], "split")
    rows: List[Dict[str, str]] = []
    split_of: Dict[str, Tuple[str, str]] = {}
    left_out: List[Dict[str, str]] = []
    try:
        text = read_text(path)
        if "\0" in text:
            raise DataError(f"{path}:{text[: text.index(chr(0))].count(chr(10)) + 1}: holds a NUL byte; write the list anew, as UTF-8 text")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}:1: the header needs the tab-separated columns {', '.join(needed)}; missing: {', '.join(missing)}")
        for row in reader:
            row["where"] = f"{path}:{reader.line_num}"
            if row["path"] and is_system_file(Path(Path(row["path"]).name)) and Path(row["path"]).name.startswith("._"):
                left_out.append(row)
                continue
            _check_row(row, needed, path.parent)
            CHECKS[kind](row)
            split, first = split_of.setdefault(row["path"], (row["split"], row["where"]))
            if split != row["split"]:
                raise DataError(f"{row['where']}: {row['path']} is of split {row['split']}, and of {split} in {first}; keep one")
            rows.append(row)
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot read this list: {error}") from None
    if left_out:
        print(f"warning: {len(left_out)} row(s) of {path} left out: system files of macOS, no audio, first {left_out[0]['where']}", file=sys.stderr)
    if not rows:
        raise DataError(f"{path}: no rows below the header")
    _check_spellings(rows, kind)
    return rows


def _check_row(row: Dict[str, str], needed: Sequence[str], folder: Path) -> None:
    if any(row.get(name) is None for name in needed) or not row["path"]:
        raise DataError(f"{row['where']}: expected the columns {', '.join(needed)}")
    if row["split"] not in SPLITS:
        raise DataError(f"{row['where']}: split must be train, valid or test, got {row['split']!r}")
    try:
        file = (folder / row["path"]).resolve()
        there = file.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise DataError(f"{row['where']}: {row['path']!r} is no file name ({error})") from None
    if not there:
        raise DataError(f"{row['where']}: no such file {file}")
    row["path"] = str(file)


def _check_clip(row: Dict[str, str]) -> None:
    _refuse(row, check_labels(row["label"].encode()), "label")


def _check_pitch(row: Dict[str, str]) -> None:
    _refuse(row, check_pitch(row["midi"].encode()), "midi")


def _check_event(row: Dict[str, str]) -> None:
    """An event, or the only row of a file without events."""
    if not any(row[name] for name in COLUMNS["sed"]):
        return
    _refuse(row, check_times(row["onset"].encode(), row["offset"].encode()), "onset", "offset")
    if not row["label"].strip():
        raise DataError(f"{row['where']}: an event without a label; a file without events leaves onset and offset empty too")
    _refuse(row, check_label(row["label"].encode()), "label")


def _refuse(row: Dict[str, str], fault: Optional[str], *names: str) -> None:
    if fault is not None:
        raise DataError(f"{row['where']}: {fault}, got {' and '.join(repr(row[name]) for name in names)}")


def _check_spellings(rows: Iterable[Dict[str, str]], kind: str) -> None:
    """Labels that look the same and are written in other characters (composed and decomposed letters) would be two classes."""
    first: Dict[str, Tuple[str, str]] = {}
    for row in rows:
        for label in _labels(row, kind):
            known, where = first.setdefault(unicodedata.normalize("NFC", label), (label, row["where"]))
            if known != label:
                raise DataError(f"{row['where']}: label {label!r} looks like that of {where} and is written in other Unicode characters; write both alike")


CHECKS: Dict[str, Callable[[Dict[str, str]], None]] = {"clip": _check_clip, "sed": _check_event, "pitch": _check_pitch}


def _labels(row: Dict[str, str], kind: str) -> List[str]:
    """What a probe has to learn of a row."""
    if kind == "pitch":
        return [str(int(row["midi"]))]
    return row["label"].split(",") if kind == "clip" else [row["label"]] * bool(row["label"])


def _check_test_labels(rows: Sequence[Dict[str, str]], kind: str) -> None:
    """A label that no probe could learn is a mistake in the list; the evaluation would refuse it after all the training."""
    known = {label for row in rows if row["split"] != "test" for label in _labels(row, kind)}
    unknown: Dict[str, str] = {}
    for row in rows:
        for label in _labels(row, kind):
            if label not in known:
                unknown.setdefault(label, row["where"])
    if unknown:
        where, names = next(iter(unknown.values())), ", ".join(sorted(unknown)[:5])
        raise DataError(
            f"{where}: {len(unknown)} {COLUMNS[kind][-1]}(s) of test are in neither train nor valid ({names}); correct them, or "
            "move such files to train"
        )


def write_task(list_path: PathLike, kind: str, out_dir: PathLike) -> List[Path]:
    """Data directories ``train``, ``valid`` and ``test`` of one evaluation task from its list.

    In an ``sed`` list a file has one row an event; a file without events has one row with empty onset, offset and label. An
    event that ends up to 50 ms after its recording is clipped, and events of one class that overlap are merged; both are counted
    and listed beside the tables.

    Returns:
        the resolved paths of the test files.

    Raises:
        DataError: malformed list, labels of test that no probe can learn, an event after the end of its recording, or a split
            without any event; names the line.
    """
    splits: Dict[str, Dict[str, List[Dict[str, str]]]] = {split: {} for split in SPLITS}
    rows = read_list(list_path, kind)
    for row in rows:
        splits[row["split"]].setdefault(row["path"], []).append(row)
    for split, files in splits.items():
        if not files:
            raise DataError(f"{list_path}: no file of split {split!r}; a task needs train, valid and test")
    _check_test_labels(rows, kind)
    if kind == "sed":
        _check_events(list_path, splits, Path(out_dir))
    for split, files in splits.items():
        _write_split(files, kind, Path(out_dir) / split)
    return [Path(path) for path in splits["test"]]


Files = Dict[str, List[Dict[str, str]]]


def _check_events(list_path: PathLike, splits: Dict[str, Files], out: Path) -> None:
    """Clip and merge the events of every file; refuse a split without any, whose scores would have no meaning."""
    late: Dict[str, List[str]] = {split: [] for split in splits}
    merged: Dict[str, List[str]] = {split: [] for split in splits}
    for split, files in splits.items():
        if not any(row["label"] for found in files.values() for row in found):
            raise DataError(f"{list_path}: no file of split {split!r} has an event; its scores would have no meaning, move files with events there")
        for path, found in files.items():
            files[path] = _merged(_within(found, path, late[split]), merged[split])
    for split in splits:
        folder = out / split
        folder.mkdir(parents=True, exist_ok=True)
        write_clipped(folder / CLIPPED, late[split])
        (folder / MERGED).unlink(missing_ok=True)
        if merged[split]:
            (folder / MERGED).write_text("".join(f"{line}\n" for line in merged[split]), encoding="utf-8")
            print(f"{len(merged[split])} events of {split} overlap others of their class and were merged; listed in {folder / MERGED}", flush=True)


def _within(rows: List[Dict[str, str]], path: str, late: List[str]) -> List[Dict[str, str]]:
    """The rows of a file with ends within the recording; those of an unreadable one as they are, stage 2 says what is wrong with it."""
    seconds = duration(path) if any(row["label"] for row in rows) else None
    if seconds is None:
        return rows
    for row in rows:
        if row["label"]:
            event = clipped(Event(float(row["onset"]), float(row["offset"]), row["label"]), seconds, f"{row['where']}: {path}")
            if event.offset != float(row["offset"]):
                late.append(f"{row['where']}\t{path}\tends at {row['offset']} s, its recording at {event.offset:.3f} s")
                row["offset"] = f"{event.offset:.6f}"
    return rows


def _merged(rows: List[Dict[str, str]], merged: List[str]) -> List[Dict[str, str]]:
    """One row for events of a class that overlap."""
    kept: List[Dict[str, str]] = []
    last: Dict[str, Dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: float(row["onset"] or 0)):
        before = last.get(row["label"]) if row["label"] else None
        if before is None or float(row["onset"]) >= float(before["offset"]):
            kept.append(row)
            last[row["label"]] = row
            continue
        merged.append(f"{row['where']}\t{row['label']} from {row['onset']} to {row['offset']} s\tinto {before['where']}")
        if float(row["offset"]) > float(before["offset"]):
            before["offset"] = row["offset"]
    return kept


def _write_split(files: Files, kind: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    width = len(str(len(files)))
    ids = {path: f"{number:0{width}d}-{re.sub(r'[^0-9A-Za-z._-]+', '_', Path(path).stem)}" for number, path in enumerate(files)}
    write_table(folder / "wav.scp", {ids[path]: path for path in files})
    if kind == "sed":
        rows = [(ids[path], row) for path, found in files.items() for row in found if row["label"]]
        rows.sort(key=lambda pair: (pair[0].encode(), float(pair[1]["onset"])))
        lines = [f"{utt}\t{row['onset']}\t{row['offset']}\t{row['label']}\n" for utt, row in rows]
        (folder / EVENTS).write_text(EVENTS_HEADER.decode() + "\n" + "".join(lines), encoding="utf-8")
        return
    table, column = ("utt2label", "label") if kind == "clip" else ("utt2pitch", "midi")
    for path, found in files.items():
        if len(found) > 1:
            raise DataError(f"{found[1]['where']}: {path} is listed twice; separate several labels of one clip by commas")
    write_table(folder / table, {ids[path]: found[0][column] for path, found in files.items()})
