"""Reading of a task: training, validation and test embeddings and their targets.

A task comes from Kaldi-style data directories or from a HEAR task directory (:mod:`ssltoolkit.evaluation.hear_task`).
Both provide *sources*, one per split or fold, from which a :class:`ssltoolkit.evaluation.task.TaskData` is built.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.data.datadir import DataDir
from ssltoolkit.data.labels import Source
from ssltoolkit.errors import DataError, plugin_errors
from ssltoolkit.evaluation.store import EmbeddingStore, check_same_model
from ssltoolkit.evaluation.task import Labels, Round, Sources, Task, TaskData, build_task

PathLike = Union[str, Path]
SPLITS = ("train", "valid", "test")


def load_task(
    kind: str,
    embed_dir: PathLike,
    data_dir: PathLike,
    metrics: Sequence[str] = (),
    options: Optional[Mapping[str, Any]] = None,
) -> TaskData:
    """Read a task from Kaldi-style directories.

    Args:
        embed_dir: contains ``train/ valid/ test/`` embedding folders; for k-fold sets ``fold1/ fold2/ ...``, or it is
            one folder itself.
        data_dir: contains ``train/ valid/ test/`` data directories, or is one with ``utt2fold``.
        kind: registered name of the task. metrics: names; the first selects the probe. Default: those of the task.
        options: constructor keywords of the task, such as ``{"label_kind": "multilabel"}``.

    Raises:
        UserError: anything missing or inconsistent; names file and line.
    """
    task, embed_dir, data_dir = build_task(kind, options), Path(embed_dir), Path(data_dir)
    sources, rounds = label_sources(data_dir)
    with plugin_errors(f"task {kind!r}"):
        return task_data(task, data_dir.name, data_dir, sources, embed_dir, rounds, metrics)


def label_sources(data_dir: Path) -> Tuple[Sources, List[Round]]:
    """Label sources and rounds of ``train/ valid/ test/`` data directories, or of one with ``utt2fold``.

    Raises:
        DataError: a missing or damaged table, or fewer than three folds.
    """
    if (data_dir / "utt2fold").is_file():
        source = DataDir(data_dir)
        folds = source.folds()
        names = {utt: f"fold{number}" for utt, number in folds.items()}
        order = [f"fold{number}" for number in sorted(set(folds.values()))]
        members: Sources = {name: (source, [utt for utt in source.utt_ids if names[utt] == name]) for name in order}
        return members, fold_rounds(order, data_dir / "utt2fold")
    read = {name: DataDir(data_dir / name) for name in SPLITS}
    return {name: (source, source.utt_ids) for name, source in read.items()}, [(["train"], ["valid"], ["test"])]


def labels_of(task: Task, source: Source, utts: Sequence[str]) -> Dict[str, List[str]]:
    """Utterance -> label names."""
    found = task.labels.read(source)
    return {utt: found[utt] for utt in utts}


def fold_rounds(order: Sequence[str], where: Path) -> List[Round]:
    """Test on fold i, validate on fold i + 1, train on the others."""
    if len(order) < 3:
        raise DataError(f"{where}: k-fold needs at least 3 folds (train, valid, test), got {len(order)}")
    rounds = []
    for i, test in enumerate(order):
        valid = order[(i + 1) % len(order)]
        rounds.append(([name for name in order if name not in (test, valid)], [valid], [test]))
    return rounds


def open_stores(embed_dir: Path, names: Iterable[str]) -> Dict[str, EmbeddingStore]:
    """Split name -> its embedding folder; one folder may contain all splits."""
    if (embed_dir / "meta.json").is_file():
        store = EmbeddingStore(embed_dir)
        return {name: store for name in names}
    stores = {name: EmbeddingStore(embed_dir / name) for name in names}
    check_same_model(stores.values())
    return stores


def task_data(
    task: Task,
    name: str,
    where: Path,
    sources: Sources,
    embed_dir: Path,
    rounds: List[Round],
    metrics: Sequence[str],
    vocabulary: Sequence[str] = (),
) -> TaskData:
    """Combine sources and embeddings; ``where`` is the user's path of the labels, for messages."""
    labels = {split: labels_of(task, source, utts) for split, (source, utts) in sources.items()}
    for split, found in labels.items():
        if not found:
            raise DataError(f"{sources[split][0].path}: {split} has no utterances; prepare the split (stages 1 and 2)")
    classes = task.classes(name, sources, labels, rounds, vocabulary)
    data = TaskData(
        task, name, str(where), classes.names, classes.multilabel, rounds, _hash(sources, labels), notes=classes.notes
    )
    stores = open_stores(embed_dir, sources)
    for split, (source, utts) in sources.items():
        store = stores[split]
        if store.kind != task.embedding:
            raise DataError(
                f"{store.path}: {store.kind} embeddings; task {data.kind} needs {task.embedding} ones (stage 5)"
            )
        data.splits[split] = task.split(source, utts, labels[split], store, data)
    data.meta = next(iter(stores.values())).meta
    data.metrics = tuple(metrics) or tuple(task.default_metrics(data))
    data.kit_order = kit_order({split: list(range(len(utts))) for split, (_, utts) in sources.items()})
    return data


def kit_order(listed: Mapping[str, List[int]]) -> Dict[str, np.ndarray]:
    """hear-eval-kit's order of the files of each split: as listed, then shuffled by one generator with seed 0.

    Args:
        listed: split -> indices of its files in listed order; splits in the order of the metadata.

    Source:
        hear-eval-kit 2021.1.3, ``embeddings/task_embeddings.py``.
    """
    generator, found = random.Random(0), {}
    for split, files in listed.items():
        files = list(files)
        generator.shuffle(files)
        found[split] = np.array(files, dtype=np.int64)
    return found


def _hash(sources: Sources, labels: Labels) -> str:
    """SHA-256 of the evaluation data: splits, utterances, labels and event times."""
    digest = hashlib.sha256()
    for split, found in labels.items():
        source = sources[split][0]
        events = source.events() if source.has("events.tsv") else {}
        for utt, given in found.items():
            digest.update(repr((split, utt, given, [tuple(e) for e in events.get(utt, [])])).encode("utf-8"))
    return digest.hexdigest()
