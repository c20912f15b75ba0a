"""Before pre-training: check the labels of evaluation tasks, which stages 6 to 8 read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Tuple, Union

from ssltoolkit.data.datadir import DataDir
from ssltoolkit.data.tables import EVENTS
from ssltoolkit.errors import DataError
from ssltoolkit.evaluation.task import Round, Sources, build_task
from ssltoolkit.evaluation.task_loading import SPLITS, fold_rounds

PathLike = Union[str, Path]


def check_labels(kind: str, data_dir: PathLike) -> str:
    """Check all labels of a task: label file, each value, and classes that only test files have.

    Args:
        kind: registered name of the task.
        data_dir: contains ``train/ valid/ test/`` data directories, or is one with ``utt2fold``; before or after
            stage 2.

    Returns:
        one line that describes the labels.

    Raises:
        UserError: what stages 6 to 8 would refuse; names file and line.

    Example::

        check_labels("clip", "data/esc50")  # data/esc50: clip, 2000 files with utt2label, 50 classes
    """
    task, data_dir = build_task(kind), Path(data_dir)
    file = task.labels.file
    if file != EVENTS and not re.fullmatch(r"utt2\w+", file):
        raise DataError(f"task {kind!r}: its label file is {file!r}; name it utt2..., others are not copied in stage 2")
    sources, rounds = _splits(data_dir)
    labels: Dict[str, Dict[str, List[str]]] = {}
    for name, (source, utts) in sources.items():
        found = task.labels.read(source)
        labels[name] = {utt: found[utt] for utt in utts}
    names = task.classes(data_dir.name, sources, labels, rounds, ()).names
    count = sum(map(len, labels.values()))
    return f"{data_dir}: {kind}, {count} files with {file}" + (f", {len(names)} classes" if names else "")


def _splits(data_dir: Path) -> Tuple[Sources, List[Round]]:
    """Sources and rounds, as :func:`ssltoolkit.evaluation.task_loading.load_task` reads them."""
    if not (data_dir / "utt2fold").is_file():
        read = {name: DataDir(data_dir / name) for name in SPLITS}
        return {name: (source, source.utt_ids) for name, source in read.items()}, [(["train"], ["valid"], ["test"])]
    source = DataDir(data_dir)
    members: Dict[int, List[str]] = {}
    for utt, fold in source.folds().items():
        members.setdefault(fold, []).append(utt)
    sources = {f"fold{fold}": (source, utts) for fold, utts in sorted(members.items())}
    return sources, fold_rounds(list(sources), data_dir / "utt2fold")
