"""Before pre-training: check the labels of evaluation tasks, which stages 6 to 8 read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Union

from ssltoolkit.data.tables import EVENTS
from ssltoolkit.errors import DataError
from ssltoolkit.evaluation.task import build_task
from ssltoolkit.evaluation.task_loading import label_sources, labels_of

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
    sources, rounds = label_sources(data_dir)
    labels = {name: labels_of(task, source, utts) for name, (source, utts) in sources.items()}
    names = task.classes(data_dir.name, sources, labels, rounds, ()).names
    count = sum(map(len, labels.values()))
    return f"{data_dir}: {kind}, {count} files with {file}" + (f", {len(names)} classes" if names else "")
