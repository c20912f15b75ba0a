"""Evaluation tasks: which embeddings train, choose and test a probe, and their targets.

A task comes from Kaldi-style data directories or from a HEAR task directory (:mod:`ssltoolkit.evaluation.hear_task`);
both give *sources*, one a split or fold, and the same :class:`TaskData` follows.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Protocol, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.data.datadir import DataDir, Event, read_lines
from ssltoolkit.errors import DataError, UserError
from ssltoolkit.evaluation.event_metrics import EVENT_METRICS, SEGMENT_METRICS, EventTable
from ssltoolkit.evaluation.features import Features
from ssltoolkit.evaluation.metrics import RANKED
from ssltoolkit.evaluation.sed import Timeline, frame_labels
from ssltoolkit.evaluation.store import EmbeddingStore, check_same_model

PathLike = Union[str, Path]
KINDS = ("clip", "sed", "pitch")
SPLITS = ("train", "valid", "test")
LABEL_FILES = {"clip": "utt2label", "sed": "events.tsv", "pitch": "utt2pitch"}
CLIP_METRICS = ("top1_acc", "pitch_acc", "chroma_acc", *RANKED)
SED_METRICS = (*EVENT_METRICS, *SEGMENT_METRICS)
DEFAULT_METRICS = {
    "multiclass": ("top1_acc",),
    "multilabel": ("mAP", "aucroc", "d_prime"),
    "pitch": ("pitch_acc", "chroma_acc"),
    "sed": (
        "event_onset_200ms_fms",
        "segment_1s_er",
        "event_onset_50ms_fms",
        "event_onset_offset_50ms_20perc_fms",
    ),
}
#: an event may end this much after its file, in s: durations are rounded
END_TOLERANCE = 0.01


class Source(Protocol):
    """Labels of one split, as :class:`ssltoolkit.data.datadir.DataDir` gives them."""

    path: Path
    utt_ids: List[str]

    def labels(self) -> Dict[str, List[str]]: ...

    def events(self) -> Dict[str, List[Event]]: ...

    def pitches(self) -> Dict[str, int]: ...

    def durations(self) -> Dict[str, float]: ...

    def has(self, name: str) -> bool: ...


@dataclass
class Piece:
    """One split or fold with its embeddings and targets.

    Attributes:
        parts: matrices and the rows used of each, as :class:`Features` takes them.
        bounds: (F + 1,) first row of each utterance, then the number of rows.
        targets: (rows,) int64 class indices or (rows, C) uint8.
        events: reference events, ``file`` counts the utterances; empty but for SED.
        times_ms: (rows,) frame centres; empty but for SED.
    """

    utt_ids: List[str]
    parts: List[Tuple[np.ndarray, np.ndarray]]
    bounds: np.ndarray
    targets: np.ndarray
    events: EventTable
    times_ms: np.ndarray

    def features(self) -> Features:
        """Rows of the embeddings in the order of the targets."""
        return Features(self.parts)

    def timeline(self) -> Timeline:
        """Where the frames of each utterance lie."""
        return Timeline(self.times_ms, self.bounds)

    def subset(self, files: np.ndarray) -> Piece:
        """Only these utterances (indices), in this order; of joined pieces the indices must ascend."""
        rows = np.concatenate([np.arange(self.bounds[f], self.bounds[f + 1]) for f in files])
        ends = np.cumsum([len(used) for _, used in self.parts])
        part = np.searchsorted(ends, rows, side="right")
        starts = ends - [len(used) for _, used in self.parts]
        parts = [(m, used[rows[part == p] - starts[p]]) for p, (m, used) in enumerate(self.parts)]
        new = np.full(len(self.utt_ids), -1)
        new[files] = np.arange(len(files))
        kept = new[self.events.file] >= 0
        events = EventTable(new[self.events.file[kept]], *(column[kept] for column in self.events[1:]))
        bounds = np.concatenate([[0], np.cumsum(np.diff(self.bounds)[files])])
        times = self.times_ms[rows] if len(self.times_ms) else self.times_ms
        return Piece([self.utt_ids[f] for f in files], parts, bounds, self.targets[rows], events, times)


def join(pieces: Sequence[Piece]) -> Piece:
    """Several folds one after another."""
    files = np.cumsum([0, *(len(p.utt_ids) for p in pieces)])
    rows = np.cumsum([0, *(p.bounds[-1] for p in pieces)])
    events = [p.events._replace(file=p.events.file + start) for p, start in zip(pieces, files)]
    return Piece(
        [utt for p in pieces for utt in p.utt_ids],
        [part for p in pieces for part in p.parts],
        np.concatenate([[0], *(p.bounds[1:] + start for p, start in zip(pieces, rows))]),
        np.concatenate([p.targets for p in pieces]),
        EventTable(*(np.concatenate(columns) for columns in zip(*events))),
        np.concatenate([p.times_ms for p in pieces]),
    )


@dataclass
class TaskData:
    """A task ready to be probed.

    Attributes:
        kind: ``clip``, ``sed`` or ``pitch``. vocabulary: class names, sorted (pitches by number).
        multilabel: whether classes are independent of each other.
        rounds: names of the training, validation and test pieces; one a fold, or a single one.
        metrics: the first chooses epoch and grid point.
        meta: ``meta.json`` of the embeddings. data_hash: SHA-256 of utterance ids and labels.
        postprocessing: SED grid the task asks for, if any.
        param_grid: probe parameters its metadata give, for hear-eval-kit's probe. choose_by: what chooses it, ``score`` or ``loss``.
        kit_order: piece -> its utterances (indices) in the order in which hear-eval-kit trains on them.
        notes: what a reader of the scores should know of the data, a sentence each.
    """

    kind: str
    name: str
    vocabulary: List[str]
    multilabel: bool
    pieces: Dict[str, Piece]
    rounds: List[Tuple[List[str], List[str], List[str]]]
    metrics: Tuple[str, ...]
    meta: Dict[str, object]
    data_hash: str
    postprocessing: Dict[str, List[float]] = field(default_factory=dict)
    param_grid: Dict[str, list] = field(default_factory=dict)
    choose_by: str = "score"
    kit_order: Dict[str, np.ndarray] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)


def default_metrics(kind: str, multilabel: bool) -> Tuple[str, ...]:
    """Metrics of a task that names none."""
    return DEFAULT_METRICS[("multilabel" if multilabel else "multiclass") if kind == "clip" else kind]


def load_task(
    kind: str, embed_dir: PathLike, data_dir: PathLike, metrics: Sequence[str] = (), label_kind: str = "auto"
) -> TaskData:
    """Read a task from Kaldi-style directories.

    Args:
        embed_dir: holds ``train/ valid/ test/`` embedding folders, or ``fold1/ fold2/ ...`` or one folder for k-fold.
        data_dir: holds ``train/ valid/ test/`` data directories, or is one with ``utt2fold``.
        metrics: names; the first chooses the probe. Default: those of the kind.
        label_kind: ``multiclass``, ``multilabel`` or ``auto`` (multilabel unless every utterance has one label).

    Raises:
        UserError: anything missing or inconsistent, naming file and line.
    """
    embed_dir, data_dir = Path(embed_dir), Path(data_dir)
    if (data_dir / "utt2fold").is_file():
        source = DataDir(data_dir)
        folds = source.folds()
        names = {utt: f"fold{number}" for utt, number in folds.items()}
        order = [f"fold{number}" for number in sorted(set(folds.values()))]
        sources: Dict[str, Tuple[Source, List[str]]] = {
            name: (source, [utt for utt in source.utt_ids if names[utt] == name]) for name in order
        }
        rounds = fold_rounds(order, data_dir / "utt2fold")
    else:
        read = {name: DataDir(data_dir / name) for name in SPLITS}
        sources = {name: (source, source.utt_ids) for name, source in read.items()}
        rounds = [(["train"], ["valid"], ["test"])]
    return build_task(kind, data_dir.name, sources, embed_dir, rounds, metrics, label_kind)


def fold_rounds(order: Sequence[str], where: Path) -> List[Tuple[List[str], List[str], List[str]]]:
    """Test on fold i, choose on fold i + 1, train on the others."""
    if len(order) < 3:
        raise DataError(f"{where}: k-fold needs at least 3 folds (train, valid, test), got {len(order)}")
    rounds = []
    for i, test in enumerate(order):
        valid = order[(i + 1) % len(order)]
        rounds.append(([name for name in order if name not in (test, valid)], [valid], [test]))
    return rounds


def open_stores(embed_dir: Path, names: Iterable[str]) -> Dict[str, EmbeddingStore]:
    """Piece name -> its embedding folder; one folder may serve all pieces."""
    if (embed_dir / "meta.json").is_file():
        store = EmbeddingStore(embed_dir)
        return {name: store for name in names}
    stores = {name: EmbeddingStore(embed_dir / name) for name in names}
    check_same_model(stores.values())
    return stores


def build_task(
    kind: str,
    name: str,
    sources: Mapping[str, Tuple[Source, List[str]]],
    embed_dir: Path,
    rounds: List[Tuple[List[str], List[str], List[str]]],
    metrics: Sequence[str],
    label_kind: str,
    vocabulary: Optional[List[str]] = None,
) -> TaskData:
    """Put sources and embeddings together; ``sources`` maps a piece to its labels and its utterances."""
    if kind not in KINDS:
        raise UserError(f"--task {kind}: must be one of {', '.join(KINDS)}")
    labels = {piece: _labels(kind, source, utts) for piece, (source, utts) in sources.items()}
    for piece, found in labels.items():
        if not found:
            raise DataError(f"{sources[piece][0].path}: {piece} has no utterances; prepare the split (stage 1)")
    given = bool(vocabulary)
    vocabulary = vocabulary or _vocabulary(kind, labels)
    unseen = _check_test_labels(kind, sources, labels, rounds, given)
    single = all(len(set(given)) == 1 for found in labels.values() for given in found.values())
    if label_kind == "multiclass" and not single:
        raise UserError(f"{name}: --label_kind multiclass, but some utterances do not have exactly one label")
    multilabel = kind == "sed" or (kind == "clip" and (label_kind == "multilabel" or not single))
    stores = open_stores(embed_dir, sources)
    kinds = {"sed": "frame"}.get(kind, "scene")
    pieces = {}
    for piece, (source, utts) in sources.items():
        store = stores[piece]
        if store.kind != kinds:
            raise DataError(f"{store.path}: {store.kind} embeddings; task {kind} needs {kinds} ones (stage 5)")
        if kind == "sed":
            pieces[piece] = _sed_piece(source, utts, store, vocabulary)
        else:
            pieces[piece] = _clip_piece(utts, labels[piece], store, vocabulary, multilabel)
    meta = next(iter(stores.values())).meta
    chosen = tuple(metrics) or default_metrics(kind, multilabel)
    if kind == "sed" and not any(len(pieces[piece].events.file) for _, _, test in rounds for piece in test):
        raise DataError(f"{sources[rounds[0][2][0]][0].path}: no file of the test split has an event, so no score would have a meaning; correct the labels")
    task = TaskData(kind, name, vocabulary, multilabel, pieces, rounds, chosen, meta, _hash(sources, labels), notes=unseen)
    task.kit_order = kit_order({piece: list(range(len(utts))) for piece, (_, utts) in sources.items()})
    return task


def kit_order(listed: Mapping[str, List[int]]) -> Dict[str, np.ndarray]:
    """The order in which hear-eval-kit keeps the files of each split: as listed, then shuffled by one generator of seed 0.

    Args:
        listed: piece -> indices of its files as its list has them; the pieces in the order of the metadata.

    Source:
        hear-eval-kit 2021.1.3, ``embeddings/task_embeddings.py``.
    """
    generator, found = random.Random(0), {}
    for piece, files in listed.items():
        files = list(files)
        generator.shuffle(files)
        found[piece] = np.array(files, dtype=np.int64)
    return found


def _labels(kind: str, source: Source, utts: Sequence[str]) -> Dict[str, List[str]]:
    """Utterance -> label names."""
    if kind == "clip":
        found = source.labels()
    elif kind == "pitch":
        found = {utt: [str(pitch)] for utt, pitch in source.pitches().items()}
    else:
        found = {utt: [event.label for event in events] for utt, events in source.events().items()}
    return {utt: found[utt] for utt in utts}


def _vocabulary(kind: str, labels: Mapping[str, Mapping[str, List[str]]]) -> List[str]:
    names = {label for found in labels.values() for given in found.values() for label in given}
    return sorted(names, key=int) if kind == "pitch" else sorted(names)


def _check_test_labels(kind: str, sources: Mapping, labels: Mapping, rounds: Sequence, given: bool) -> List[str]:
    """A label of the test split that no probe could have learnt is a mistake in the data, unless a vocabulary is given that has it.

    Returns:
        A note about such labels of a given vocabulary.
    """
    notes: List[str] = []
    if len(rounds) > 1:
        return notes
    train, valid, test = rounds[0]
    known = {label for piece in (*train, *valid) for given in labels[piece].values() for label in given}
    for piece in test:
        unknown = {label: utt for utt, given in labels[piece].items() for label in given if label not in known}
        if unknown:
            utt = unknown[min(unknown)]
            if given:
                notes.append(f"{len(unknown)} class(es) of test are in neither train nor valid, no probe can learn them: {', '.join(sorted(unknown)[:5])}")
                continue
            raise DataError(
                f"{where_is(sources[piece][0], LABEL_FILES[kind], utt)}: label(s) in neither train nor valid: "
                f"{', '.join(sorted(unknown))}; correct the label or move such files to train"
            )
    return notes


def where_is(source: Source, name: str, utt: str, number: int = 0) -> str:
    """``file:line`` of the ``number``-th line about an utterance, as exactly as the source can tell."""
    locate = getattr(source, "where", None)
    if locate is not None:
        return locate(utt)
    separator, path = "\t" if name.endswith(".tsv") else None, source.path / name
    lines = [n for n, line in read_lines(path) if line.split(separator, 1)[0] == utt]
    return f"{path}:{lines[min(number, len(lines) - 1)]}" if lines else str(path)


def _clip_piece(
    utts: Sequence[str], labels: Mapping[str, List[str]], store: EmbeddingStore, vocabulary: List[str], multilabel: bool
) -> Piece:
    index = {label: i for i, label in enumerate(vocabulary)}
    rows = np.array([store.rows(utt).start for utt in utts], dtype=np.int64)
    if multilabel:
        targets = np.zeros((len(utts), len(vocabulary)), dtype=np.uint8)
        for u, utt in enumerate(utts):
            targets[u, [index[label] for label in labels[utt]]] = 1
    else:
        targets = np.array([index[labels[utt][0]] for utt in utts], dtype=np.int64)
    nothing = EventTable.of((), (), (), ())
    return Piece(list(utts), [(store.matrix, rows)], np.arange(len(utts) + 1), targets, nothing, np.zeros(0))


def _sed_piece(source: Source, utts: Sequence[str], store: EmbeddingStore, vocabulary: List[str]) -> Piece:
    index = {label: i for i, label in enumerate(vocabulary)}
    events = source.events()
    _check_event_ends(source, utts, events)
    times = [store.timestamps_ms(utt) for utt in utts]
    rows = [np.arange(store.rows(utt).start, store.rows(utt).stop) for utt in utts]
    targets = np.concatenate([frame_labels(t, events[utt], index) for t, utt in zip(times, utts)])
    bounds = np.concatenate([[0], np.cumsum([len(t) for t in times])])
    table = EventTable.from_lists([events[utt] for utt in utts], vocabulary)
    return Piece(list(utts), [(store.matrix, np.concatenate(rows))], bounds, targets, table, np.concatenate(times))


def _check_event_ends(source: Source, utts: Sequence[str], events: Mapping[str, List[Event]]) -> None:
    if not source.has("utt2dur"):
        return
    durations = source.durations()
    for utt in utts:
        for event in events[utt]:
            if event.offset > durations[utt] + END_TOLERANCE:
                raise DataError(
                    f"{_where_event(source, utt, event)}: event {event.label!r} of {utt!r} ends at {event.offset:g} s, "
                    f"after the end of its file at {durations[utt]:g} s; correct the event or the audio"
                )


def _where_event(source: Source, utt: str, event: Event) -> str:
    if hasattr(source, "where"):
        return where_is(source, "events.tsv", utt)
    for number, line in read_lines(source.path / "events.tsv"):
        fields = line.split("\t")
        if number > 1 and fields[0] == utt and (float(fields[1]), float(fields[2]), fields[3]) == tuple(event):
            return f"{source.path / 'events.tsv'}:{number}"
    return str(source.path / "events.tsv")


def _hash(sources: Mapping, labels: Mapping[str, Mapping[str, List[str]]]) -> str:
    """SHA-256 of what is evaluated: pieces, utterances, labels and event times."""
    digest = hashlib.sha256()
    for piece, found in labels.items():
        source = sources[piece][0]
        events = source.events() if source.has("events.tsv") else {}
        for utt, given in found.items():
            digest.update(repr((piece, utt, given, [tuple(e) for e in events.get(utt, [])])).encode("utf-8"))
    return digest.hexdigest()
