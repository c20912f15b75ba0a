"""open_sounds: recordings from many public sources, one folder per source, described in ``SOURCES.tsv``.

Columns of ``SOURCES.tsv``, tab-separated with a header: source (folder), kind, class (``permissive`` or
``share-alike``), licence, files, hours, ..."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Set, Tuple

import numpy as np
from holdout import TASK_SOURCES

from ssltoolkit.data.recipes import Utterance
from ssltoolkit.data.scan import find_audio
from ssltoolkit.errors import UserError

TABLE = "SOURCES.tsv"
CLASSES = ("permissive", "share-alike")


@dataclass(frozen=True)
class Source:
    """One folder of recordings: its name, kind of sound, class of licence and licence."""

    name: str
    kind: str
    licence_class: str
    licence: str


def read_sources(root: Path) -> Dict[str, Source]:
    """Read the sources in ``SOURCES.tsv``, by name.

    Raises:
        UserError: no such file, a missing column, or an unknown class; names the line.
    """
    path = root / TABLE
    if not path.is_file():
        raise UserError(f"{path}: no such file; open_sounds is a folder of sources with this table (see README.md)")
    with open(path, encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        missing = [name for name in ("source", "kind", "class", "licence") if name not in (rows.fieldnames or ())]
        if missing:
            raise UserError(f"{path}:1: no column {missing[0]!r}")
        sources = {row["source"]: Source(row["source"], row["kind"], row["class"], row["licence"]) for row in rows}
    for line, source in enumerate(sources.values(), 2):
        if source.licence_class not in CLASSES:
            raise UserError(
                f"{path}:{line}: class of licence {source.licence_class!r} is not one of {', '.join(CLASSES)}"
            )
    return sources


def pool_sources(root: Path, wanted: str) -> List[str]:
    """Names of the sources for the pool, without those of downstream tasks.

    Args:
        root: folder of open_sounds.
        wanted: ``all``, ``permissive`` or ``share-alike``, or comma-separated names of sources.

    Raises:
        UserError: an unknown source, or the source of a downstream task.
    """
    sources = read_sources(root)
    if wanted == "all" or wanted in CLASSES:
        return [
            name
            for name, source in sources.items()
            if name not in TASK_SOURCES and wanted in ("all", source.licence_class)
        ]
    names = wanted.split(",")
    for name in names:
        if name not in sources:
            raise UserError(
                f"--open_sources: {name!r} is not a source of {root} (all, permissive, share-alike, or names: "
                f"{', '.join(sources)})"
            )
        if name in TASK_SOURCES:
            raise UserError(f"--open_sources: {name!r} is used for a downstream task and excluded from pre-training")
    return names


def pool_files(root: Path, wanted: str) -> Dict[str, Path]:
    """Recordings of the pool, id -> path; arguments and errors as in :func:`pool_sources`."""
    found: Dict[str, Path] = {}
    for name in pool_sources(root, wanted):
        found.update({f"{name}-{utt}": path for utt, path in find_audio(root / name).items()})
    return found


def task_folder(root: Path, name: str, task: str) -> Path:
    """Folder ``name`` of open_sounds, from which a task is made; resolved, as the paths of ``find_audio`` are.

    Raises:
        UserError: no such folder.
    """
    if not (root / name).is_dir():
        raise UserError(f"{root / name}: no such folder; it is needed for the task of {task}")
    return (root / name).resolve()


def trained_on(fold: int, count: int) -> Set[int]:
    """Folds, 1 to ``count``, that the probe of ``fold`` trains on; the next fold is for validation.

    Example:
        >>> trained_on(4, 4)
        {2, 3}
    """
    return set(range(1, count + 1)) - {fold, fold % count + 1}


#: form -> source of the words task, and pattern of (speaker, word) in its file names
WORDS = {
    "dev": ("dspspeech20", lambda path: (path.parent.name, path.stem.split("-")[1])),
    "test": ("arabic_commands", lambda path: (path.stem.split("_")[0], path.parent.name)),
}
#: folds of the words task: every speaker is tested once
FOLDS = 5


def words(root: Path, form: str) -> Dict[str, Utterance]:
    """Single words by many speakers, in folds by speaker: 20 words by 24 speakers in dev, 40 by 20 in test.

    Args:
        root: folder of open_sounds.
        form: ``dev`` or ``test``; they share no speaker, word or source.

    Raises:
        UserError: the source is missing, or a file has an unexpected name.
    """
    source, parse = WORDS[form]
    folder = task_folder(root, source, "words")
    read: Dict[str, Tuple[Path, str, str]] = {}
    for utt, path in sorted(find_audio(folder).items()):
        try:
            read[utt] = (path, *parse(path))
        except IndexError:
            raise UserError(f"{path}: the name does not contain speaker and word; get {source} again") from None
    speakers = sorted({speaker for _, speaker, _ in read.values()})
    # Shuffle with a fixed seed, so that adjacent speaker numbers do not share a fold.
    order = np.random.default_rng(79).permutation(len(speakers))
    fold = {speakers[place]: 1 + number % FOLDS for number, place in enumerate(order)}
    return {
        utt: Utterance(path, word, speaker=speaker, fold=fold[speaker]) for utt, (path, speaker, word) in read.items()
    }
