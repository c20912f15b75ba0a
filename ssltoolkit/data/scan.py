"""Data directories from folders of audio and from label lists in TSV form."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.data.audio import EXTENSIONS, UNREAD_EXTENSIONS
from ssltoolkit.data.datadir import is_count, write_table
from ssltoolkit.errors import DataError, UserError

PathLike = Union[str, Path]
SPLITS = ("train", "valid", "test")
#: list of the audio that is left out, with the reason
UNREAD = "unread_audio.txt"
FORMAT, BROKEN, NAME, SHUT = "format that cannot be read", "broken link or no file", "name with line breaks or not in UTF-8", "no permission to look into it"
REMEDIES = {
    FORMAT: "convert them, each like this: ffmpeg -i a{ending} a.flac",
    BROKEN: "mend or remove them",
    NAME: "rename them",
    SHUT: "give yourself the right to read them",
}
#: kind of task -> columns of its list, besides path and split
COLUMNS = {"clip": ("label",), "sed": ("onset", "offset", "label"), "pitch": ("midi",)}


def find_audio(folder: PathLike, unread: Optional[Path] = None) -> Dict[str, Path]:
    """Every audio file below ``folder`` by a unique id made of its relative path; ``drums/kick 1.wav`` is ``drums-kick_1``.

    Args:
        folder: searched with everything below it.
        unread: list to write of what is left out, ``path<TAB>reason`` a line: formats that cannot be read, broken links and
            what else is no file, names that no table can hold, folders without permission. There is always a warning about each kind.

    Raises:
        UserError: no such folder, or no audio file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder that holds your audio files")
    files: List[Path] = []
    left_out: List[Tuple[Path, str]] = []
    shut: List[str] = []
    for path in sorted(path for path in walk_files(folder, shut.append) if path.suffix.lower() in EXTENSIONS + UNREAD_EXTENSIONS):
        reason = _fault(path)
        if reason:
            left_out.append((path, reason))
        else:
            files.append(path)
    left_out += [(Path(name), SHUT) for name in sorted(shut)]
    _report_left_out(left_out, unread)
    if not files:
        raise UserError(f"{folder}: no audio files below it (looked for {', '.join(EXTENSIONS)})")
    found: Dict[str, Path] = {}
    for path in files:
        stem = re.sub(r"\s+", "_", "-".join(path.relative_to(folder).with_suffix("").parts))
        name = stem if stem not in found else f"{stem}{path.suffix.replace('.', '-')}"
        number = 2
        while name in found:
            name, number = f"{stem}-{number}", number + 1
        found[name] = path.resolve()
    return found


def _fault(path: Path) -> str:
    """Why an audio file is left out, empty if it is not."""
    if not os.path.isfile(path):
        return BROKEN
    if path.suffix.lower() in UNREAD_EXTENSIONS:
        return FORMAT
    return "" if _fits_a_line(str(path.resolve())) else NAME


def _report_left_out(left_out: Sequence[Tuple[Path, str]], listed: Optional[Path]) -> None:
    """Tell the user what is left out and why, one line a reason, and list it in a file."""
    where = ""
    if listed is not None:
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.unlink(missing_ok=True)
        if left_out:
            listed.write_text("".join(f"{_printable(path)}\t{reason}\n" for path, reason in left_out), encoding="utf-8")
            where = f"; listed in {listed}"
    for reason, remedy in REMEDIES.items():
        paths = [path for path, why in left_out if why == reason]
        if paths:
            what = "folder(s)" if reason == SHUT else "audio file(s)"
            endings = Counter(path.suffix.lower() for path in paths).most_common()
            counts = " (" + ", ".join(f"{count:,} {ending}" for ending, count in endings) + ")" if reason == FORMAT else ""
            remedy = remedy.format(ending=endings[0][0])
            print(f"warning: {len(paths):,} {what} left out: {reason}{counts}, first {_printable(paths[0])}; {remedy}{where}", file=sys.stderr)


def _printable(path: Path) -> str:
    """A path on one line of UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\r", "\\r")


def _fits_a_line(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not set(name) & set("\n\r")


def walk_files(folder: Path, shut: Callable[[str], None] = lambda name: None) -> Iterator[Path]:
    """Files below ``folder``, through links to other folders too, each folder once; ``shut`` is told of those that cannot be read."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=lambda error: shut(error.filename)):
        seen.add(os.path.realpath(root))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(root, name)) not in seen]
        yield from (Path(root) / name for name in names)


def write_pool(audio_dir: PathLike, out_dir: PathLike, exclude: Sequence[Path] = (), valid_share: float = 0.05, seed: int = 0) -> Dict[str, int]:
    """Every audio file of a folder as unlabelled data directories ``pretrain`` and ``pretrain_valid``.

    What is left out is listed in ``pretrain/unread_audio.txt``, if there is anything; see :func:`find_audio`.

    Args:
        audio_dir: searched with everything below it.
        out_dir: where the two directories go.
        exclude: resolved paths left out (test files of an evaluation).
        valid_share: share of the files that validate the pre-training objective; at least 2, at most 1,000 files.
        seed: of the choice.

    Returns:
        number of files: ``pretrain``, ``pretrain_valid``, ``excluded``.

    Raises:
        UserError: no audio, or too few files to contrast.
    """
    found, left_out = find_audio(audio_dir, Path(out_dir) / "pretrain" / UNREAD), set(exclude)
    kept = {utt: str(path) for utt, path in found.items() if path not in left_out}
    if len(kept) < 6:
        raise UserError(f"{audio_dir}: {len(kept)} audio files to pre-train on; contrastive training needs at least 6")
    count = int(np.clip(round(valid_share * len(kept)), 2, 1000))
    chosen = set(np.random.default_rng(seed).permutation(sorted(kept))[:count])
    for name, members in (("pretrain", kept.keys() - chosen), ("pretrain_valid", chosen)):
        (Path(out_dir) / name).mkdir(parents=True, exist_ok=True)
        write_table(Path(out_dir) / name / "wav.scp", {utt: kept[utt] for utt in members})
    return {"pretrain": len(kept) - count, "pretrain_valid": count, "excluded": len(found) - len(kept)}


def read_list(path: PathLike, kind: str) -> List[Dict[str, str]]:
    """Rows of a label list: tab-separated, with a header of ``path``, the columns of its kind, and ``split``.

    Paths are relative to the list's folder; ``where`` is added to each row for later errors.

    Raises:
        DataError: missing columns, a bad split, time, pitch or label, a file that does not exist, or one of two splits; names the
            line.
    """
    path, needed = Path(path), ("path", *COLUMNS[kind], "split")
    rows: List[Dict[str, str]] = []
    split_of: Dict[str, Tuple[str, str]] = {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}:1: the header needs the tab-separated columns {', '.join(needed)}; missing: {', '.join(missing)}")
            for row in reader:
                row["where"] = f"{path}:{reader.line_num}"
                _check_row(row, needed, path.parent)
                CHECKS[kind](row)
                split, first = split_of.setdefault(row["path"], (row["split"], row["where"]))
                if split != row["split"]:
                    raise DataError(f"{row['where']}: {row['path']} is of split {row['split']}, and of {split} in {first}; keep one")
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot read this list: {error}") from None
    if not rows:
        raise DataError(f"{path}: no rows below the header")
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
    if not all(label and label == label.strip() for label in row["label"].split(",")):
        raise DataError(f"{row['where']}: labels are separated by single commas, without spaces around them, got {row['label']!r}")


def _check_pitch(row: Dict[str, str]) -> None:
    if not is_count(row["midi"]) or int(row["midi"]) > 127:
        raise DataError(f"{row['where']}: midi must be a note number from 0 to 127, got {row['midi']!r}")


def _check_event(row: Dict[str, str]) -> None:
    """An event, or the only row of a file without events."""
    if not any(row[name] for name in COLUMNS["sed"]):
        return
    times = [_seconds(row, name) for name in ("onset", "offset")]
    if not 0 <= times[0] < times[1]:
        raise DataError(f"{row['where']}: needs 0 <= onset < offset, got {row['onset']} and {row['offset']}")
    if not row["label"].strip():
        raise DataError(f"{row['where']}: an event without a label; a file without events leaves onset and offset empty too")


def _seconds(row: Dict[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{row['where']}: {name} must be a number in seconds, with a decimal point, got {row[name]!r}")
    return value


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

    In an ``sed`` list a file has one row an event; a file without events has one row with empty onset, offset and label.

    Returns:
        the resolved paths of the test files.

    Raises:
        DataError: malformed list, or labels of test that no probe can learn; names the line.
    """
    splits: Dict[str, Dict[str, List[Dict[str, str]]]] = {split: {} for split in SPLITS}
    rows = read_list(list_path, kind)
    for row in rows:
        splits[row["split"]].setdefault(row["path"], []).append(row)
    for split, files in splits.items():
        if not files:
            raise DataError(f"{list_path}: no file of split {split!r}; a task needs train, valid and test")
    _check_test_labels(rows, kind)
    for split, files in splits.items():
        _write_split(files, kind, Path(out_dir) / split)
    return [Path(path) for path in splits["test"]]


def _write_split(files: Dict[str, List[Dict[str, str]]], kind: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    width = len(str(len(files)))
    ids = {path: f"{number:0{width}d}-{re.sub(r'[^0-9A-Za-z._-]+', '_', Path(path).stem)}" for number, path in enumerate(files)}
    write_table(folder / "wav.scp", {ids[path]: path for path in files})
    if kind == "sed":
        rows = [(ids[path], row) for path, found in files.items() for row in found if row["label"]]
        rows.sort(key=lambda pair: (pair[0], float(pair[1]["onset"])))
        lines = [f"{utt}\t{row['onset']}\t{row['offset']}\t{row['label']}\n" for utt, row in rows]
        (folder / "events.tsv").write_text("utt_id\tonset\toffset\tlabel\n" + "".join(lines), encoding="utf-8")
        return
    table, column = ("utt2label", "label") if kind == "clip" else ("utt2pitch", "midi")
    for path, found in files.items():
        if len(found) > 1:
            raise DataError(f"{found[1]['where']}: {path} is listed twice; separate several labels of one clip by commas")
    write_table(folder / table, {ids[path]: found[0][column] for path, found in files.items()})
