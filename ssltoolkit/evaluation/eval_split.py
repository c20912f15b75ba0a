"""One split or fold of a task: rows of embeddings, targets and, for SED, events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from ssltoolkit.data.datadir import read_lines
from ssltoolkit.data.labels import Source
from ssltoolkit.evaluation.event_metrics import EventTable
from ssltoolkit.evaluation.features import Features
from ssltoolkit.evaluation.sed import Timeline


@dataclass
class EvalSplit:
    """One split or fold with its embeddings and targets.

    Attributes:
        parts: matrices and the rows used from each, as for :class:`Features`.
        bounds: (F + 1,) first row of each utterance, then the number of rows.
        targets: (rows,) int64 class indices, (rows, C) uint8, or (rows, C) float32 numbers.
        events: reference events, ``file`` is the utterance index; empty except for SED.
        times_ms: (rows,) frame centres; empty except for SED.
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
        """Frame times and boundaries of the utterances."""
        return Timeline(self.times_ms, self.bounds)

    def subset(self, files: np.ndarray) -> EvalSplit:
        """Only these utterances (indices), in this order; indices into joined splits must ascend."""
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
        return EvalSplit([self.utt_ids[f] for f in files], parts, bounds, self.targets[rows], events, times)


def join(splits: Sequence[EvalSplit]) -> EvalSplit:
    """Concatenate several folds."""
    files = np.cumsum([0, *(len(p.utt_ids) for p in splits)])
    rows = np.cumsum([0, *(p.bounds[-1] for p in splits)])
    events = [p.events._replace(file=p.events.file + start) for p, start in zip(splits, files)]
    return EvalSplit(
        [utt for p in splits for utt in p.utt_ids],
        [part for p in splits for part in p.parts],
        np.concatenate([[0], *(p.bounds[1:] + start for p, start in zip(splits, rows))]),
        np.concatenate([p.targets for p in splits]),
        EventTable(*(np.concatenate(columns) for columns in zip(*events))),
        np.concatenate([p.times_ms for p in splits]),
    )


def where_is(source: Source, name: str, utt: str, number: int = 0) -> str:
    """``file:line`` of the ``number``-th line about an utterance, or just the file if the source has no lines."""
    locate = getattr(source, "where", None)
    if locate is not None:
        return locate(utt)
    separator, path = "\t" if name.endswith(".tsv") else None, source.path / name
    lines = [n for n, line in read_lines(path) if line.split(separator, 1)[0] == utt]
    return f"{path}:{lines[min(number, len(lines) - 1)]}" if lines else str(path)
