"""Shared data preparation of the recipes: finding or downloading a dataset, checking it, writing data directories.

A recipe's ``local/prepare.py`` reads the published layout of its dataset and uses this module for the rest. Nothing is
written before everything has been checked."""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Collection, Dict, Iterable, List, Mapping, NamedTuple, Protocol, Sequence, Set, Tuple, Union

import numpy as np

from ssltoolkit import command_line
from ssltoolkit.data.contents import is_system_file
from ssltoolkit.data.datadir import Event, write_table
from ssltoolkit.data.tables import EVENTS, EVENTS_HEADER, TABLES, check_event, segment_value
from ssltoolkit.errors import DataError, UserError
from ssltoolkit.text import read_text

PathLike = Union[str, Path]
DOWNLOAD = "downloads"


class Published(NamedTuple):
    """A dataset as its authors publish it.

    Attributes:
        name: name for messages. variable: variable in ``db.sh``. contents: content of the folder. page: download page.
        marks: files or folders that identify the dataset; one of them suffices.
    """

    name: str
    variable: str
    contents: str
    page: str
    marks: Tuple[str, ...]


class Where(Protocol):
    """Location of a recipe's dataset: the options of :func:`parser` that define it."""

    source: str
    archives: Path
    download_dir: Path


@dataclass
class Utterance:
    """One utterance of a data directory; attributes that are None get no table.

    Attributes:
        path: audio file. labels: labels of the clip. pitch: MIDI number. events: times in seconds. speaker, fold:
            entries of ``utt2spk`` and ``utt2fold``.
        span: (start, end) in seconds if the utterance is a part of the file.
    """

    path: Path
    labels: Union[None, str, Sequence[str]] = None
    pitch: Union[None, int] = None
    events: Union[None, List[Event]] = None
    speaker: str = ""
    fold: Union[None, int] = None
    span: Union[None, Tuple[float, float]] = None


@dataclass
class CompletenessCheck:
    """Compares a copy of a dataset with the published counts, and reports all differences together.

    Args:
        dataset: the dataset, for messages. root: the copy. partial: accept missing files (but never wrong ones).
    """

    dataset: Published
    root: Path
    partial: bool
    problems: List[str] = field(default_factory=list)

    def count(self, what: str, found: int, expected: int, missing: Iterable[str] = ()) -> None:
        """Record a count; ``missing`` names files that the metadata lists but the copy lacks."""
        absent = sorted(missing)
        if found == expected and not absent:
            print(f"{self.dataset.name}: {found:,} {what}")
            return
        text = f"{found:,} of {expected:,} {what}"
        if absent:
            text += f" (missing: {', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''})"
        self.problems.append(text)

    def close(self) -> None:
        """Refuse a copy that differs, unless partial copies are accepted.

        Raises:
            DataError: one line with every count that differs and examples of missing files.
        """
        if not self.problems:
            return
        found = f"{self.root}: this copy of {self.dataset.name} has {'; '.join(self.problems)}"
        if not self.partial:
            raise DataError(f"{found}; complete it from {self.dataset.page}, or use it incomplete with --partial true")
        print(f"{found}; continuing with the incomplete copy (--partial true)", flush=True)


def parser(description: str) -> argparse.ArgumentParser:
    """Parser with the common options of ``local/prepare.py``."""
    options = command_line.Parser(prog="local/data.sh", description=description)
    options.add_argument("--source", default="", help="folder of the dataset, or 'downloads'")
    options.add_argument("--out_dir", type=Path, default=Path("data"), help="output folder of the data directories")
    options.add_argument("--download_dir", type=Path, default=Path(DOWNLOAD), help="folder to unpack archives into")
    options.add_argument("--archives", type=Path, default=Path("conf/archives.txt"), help="archives for 'downloads'")
    options.add_argument(
        "--partial", type=command_line.str2bool, default=False, help="accept a copy with missing files"
    )
    options.add_argument(
        "--check", type=command_line.str2bool, default=False, help="only check the copy, write nothing"
    )
    options.add_argument("--seed", type=int, default=0, help="random seed")
    return options


def locate(dataset: Published, where: Where) -> Path:
    """The folder of a dataset, downloaded first if its variable is ``downloads``.

    Raises:
        UserError: the variable is empty, or the folder is not this dataset; names the download page.
    """
    if not where.source:
        how = f", or set it to '{DOWNLOAD}' to fetch it" if where.archives.is_file() else ""
        raise UserError(
            f"{dataset.variable} is empty: this needs {dataset.name} ({dataset.contents}); get it from {dataset.page} "
            f"and set {dataset.variable} to its folder in db.sh or in the environment{how}"
        )
    if where.source == DOWNLOAD:
        fetch(where.archives, where.download_dir, dataset)
    root = where.download_dir if where.source == DOWNLOAD else Path(where.source)
    if not root.is_dir():
        raise UserError(f"{dataset.variable}={root}: no such folder; get {dataset.name} from {dataset.page}")
    for mark in dataset.marks:
        found = beneath(root, mark)
        if found:
            return found[0].parents[len(Path(mark).parts) - 1].resolve()
    raise UserError(
        f"{dataset.variable}={root}: not a copy of {dataset.name}: none of {', '.join(dataset.marks)} is in it "
        f"({dataset.contents}); get it from {dataset.page}"
    )


def beneath(root: Path, name: str, depth: int = 2) -> List[Path]:
    """Find ``name`` in ``root`` or up to ``depth`` levels below: archives are often unpacked one level deeper."""
    found: List[Path] = []

    def theirs(path: Path) -> bool:
        below = path.relative_to(root)
        return ".partial" not in str(below) and not is_system_file(below)

    for level in range(depth + 1):
        found = sorted(path for path in root.glob("*/" * level + name) if theirs(path))
        if found:
            break
    return found


def place(where: Where, name: str) -> Path:
    """Path of one of several published folders of a dataset; its expected path if it is missing."""
    base = where.download_dir if where.source == DOWNLOAD else Path(where.source)
    return (beneath(base, name) or [base / name])[0].resolve()


def read_rows(path: PathLike, columns: Sequence[str], **known: Collection[str]) -> List[Dict[str, str]]:
    """Rows of a comma-separated table with a header, by column; ``where`` is file and line, for messages.

    Args:
        columns: columns that every row must have. known: column -> its allowed values.

    Raises:
        DataError: a missing column or value, or a value that is not allowed; names file and line.

    Example::

        read_rows("labels.csv", ("file", "split"), split=("train", "valid", "test"))
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"{path}:1: no column {', '.join(missing)}; the header has {', '.join(reader.fieldnames or ('nothing',))}"
        )
    rows: List[Dict[str, str]] = []
    for row in reader:
        row["where"] = f"{path}:{reader.line_num}"
        empty = [name for name in columns if not row[name]]
        if empty:
            raise DataError(f"{row['where']}: no value for {', '.join(empty)}")
        for name, values in known.items():
            if row[name] not in values:
                raise DataError(f"{row['where']}: {name} is {row[name]!r}; known are {', '.join(values)}")
        rows.append(row)
    return rows


def read_archives(path: Path) -> Dict[str, List[Tuple[str, str]]]:
    """Folder -> (hash, URL) of each archive, or part of one, to unpack there.

    Lines are ``folder hash URL``; the hash is ``md5:...``, ``sha256:...``, or ``-`` if none is published.
    """
    found: Dict[str, List[Tuple[str, str]]] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        if len(fields) != 3:
            raise DataError(f"{path}:{number}: expected 'folder hash URL', got {line!r}")
        found.setdefault(fields[0], []).append((fields[1], fields[2]))
    return found


def fetch(archives: Path, folder: Path, dataset: Published) -> None:
    """Download and unpack the archives in ``conf/archives.txt``, each into its own folder; finished ones are skipped.

    Raises:
        UserError: no archive is published, or the download failed (the downloader has printed the reason).
    """
    if not archives.is_file():
        raise UserError(
            f"{dataset.variable}={DOWNLOAD}: {dataset.name} has no public archive; get it from {dataset.page}"
        )
    program = shutil.which("download_and_extract.py")
    if program is None:
        raise UserError("download_and_extract.py is not on PATH; start this through local/data.sh, which sets it")
    for name, parts in read_archives(archives).items():
        command = [sys.executable, program, "--out", str(folder / name)]
        for digest, url in parts:
            command += ["--url", url, "--hash", digest]
        if subprocess.run(command).returncode != 0:
            raise UserError(
                f"{dataset.name}: {parts[0][1]} could not be fetched; see above, then run the same command again"
            )


def listing(folder: Path, pattern: str = r".*\.wav") -> Set[str]:
    """Names of the files of a folder that match; empty if there is no such folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {
            entry.name
            for entry in entries
            if re.fullmatch(pattern, entry.name) and not is_system_file(Path(entry.name))
        }


def write_set(folder: Path, utts: Mapping[str, Utterance]) -> None:
    """Write one data directory.

    Args:
        utts: utterances by id; ids contain only characters that need no quoting.

    Raises:
        DataError: no utterances, an id with spaces, or only some utterances have labels.
    """
    if not utts:
        raise DataError(f"{folder}: no utterance is left for this set; the copy of the dataset is too small")
    bad = next((utt for utt in utts if not utt or re.search(r"\s", utt)), None)
    if bad is not None:
        raise DataError(f"{folder}: {bad!r} cannot be an utterance id; rename {utts[bad].path}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*TABLES, EVENTS):  # remove the tables of an earlier preparation
        (folder / name).unlink(missing_ok=True)
    if any(one.span is not None for one in utts.values()):
        _write_segments(folder, utts)
    else:
        write_table(folder / "wav.scp", {utt: str(one.path) for utt, one in utts.items()})
    write_table(folder / "utt2spk", {utt: one.speaker or utt for utt, one in utts.items()})
    _write_column(
        folder / "utt2label", {utt: _joined(one.labels) for utt, one in utts.items() if one.labels is not None}, utts
    )
    _write_column(
        folder / "utt2pitch", {utt: str(one.pitch) for utt, one in utts.items() if one.pitch is not None}, utts
    )
    _write_column(folder / "utt2fold", {utt: str(one.fold) for utt, one in utts.items() if one.fold is not None}, utts)
    if any(one.events is not None for one in utts.values()):
        rows = [
            f"{utt}\t{e.onset:.6f}\t{e.offset:.6f}\t{e.label}"
            for utt in sorted(utts)
            for e in sorted(utts[utt].events or [])
        ]
        for row in rows:
            fault = check_event(row.encode().split(b"\t"))
            if fault is not None:
                raise DataError(f"{folder / EVENTS}: {fault}: {row!r}; the copy of the dataset is damaged")
        (folder / EVENTS).write_text("".join(f"{line}\n" for line in [EVENTS_HEADER.decode(), *rows]), encoding="utf-8")
    print(f"{folder}: {len(utts):,} utterances", flush=True)


def _write_segments(folder: Path, utts: Mapping[str, Utterance]) -> None:
    """Write ``wav.scp`` of the recordings and ``segments``; an utterance without a span is its whole recording."""
    paths = sorted({str(one.path) for one in utts.values()})
    recordings = {path: f"rec-{number:07d}" for number, path in enumerate(paths)}
    write_table(folder / "wav.scp", {recording: path for path, recording in recordings.items()})
    _write_column(
        folder / "segments",
        {utt: segment_value(recordings[str(one.path)], one.span) for utt, one in utts.items()},
        utts,
    )


def _joined(labels: Union[str, Sequence[str]]) -> str:
    return labels if isinstance(labels, str) else ",".join(labels)


def _write_column(path: Path, column: Dict[str, str], utts: Mapping[str, Utterance]) -> None:
    if column and len(column) != len(utts):
        raise DataError(f"{path}: {len(utts) - len(column)} of {len(utts)} utterances have no entry")
    for utt, value in column.items():
        fault = TABLES[path.name].check(value.encode())
        if fault is not None:
            raise DataError(f"{path}: {utt}: {fault}, got {value!r}")
    if column:
        write_table(path, column)


def unlabelled(utts: Mapping[str, Utterance]) -> Dict[str, Utterance]:
    """The same audio without labels, which pre-training must not see."""
    return {utt: Utterance(one.path, span=one.span) for utt, one in utts.items()}


def draw(ids: Iterable[str], count: int, seed: int) -> List[str]:
    """Draw ``count`` ids (all, if there are fewer); depends on the seed but not on the order of ``ids``."""
    ordered = sorted(ids)
    return (
        sorted(np.random.default_rng([seed, 31]).permutation(ordered)[:count].tolist())
        if len(ordered) > count
        else ordered
    )


def write_pretraining(out: Path, utts: Mapping[str, Utterance], seed: int, share: float = 0.05) -> None:
    """Write ``pretrain`` and, with a share of the files, ``pretrain_valid`` (at least 2, at most 1,000 files).

    Raises:
        DataError: too few clips for contrastive training.
    """
    if len(utts) < 4:
        raise DataError(f"{out / 'pretrain'}: {len(utts)} clip(s); contrastive pre-training needs at least 4")
    chosen = set(draw(utts, int(np.clip(round(share * len(utts)), 2, 1000)), seed))
    plain = unlabelled(utts)
    write_set(out / "pretrain", {utt: one for utt, one in plain.items() if utt not in chosen})
    write_set(out / "pretrain_valid", {utt: plain[utt] for utt in chosen})


def write_task(out: Path, splits: Mapping[str, Mapping[str, Utterance]]) -> None:
    """Write ``train``, ``valid`` and ``test`` of one evaluation task."""
    for split, utts in splits.items():
        write_set(out / split, utts)
