"""Decoding of frame probabilities into sound events as in HEAR: median filter, threshold, merging, minimum duration.

Symbols: T frames of all files concatenated, C classes, K = models x classes. Frame times are centres in ms, event times
are in seconds.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ssltoolkit.data.datadir import Event
from ssltoolkit.evaluation.event_metrics import (
    EVENT_METRICS,
    SEGMENT_METRICS,
    EventTable,
    error_rate,
    event_counts,
    f_measure,
    segment_counts,
)

MEDIAN_FILTER_MS = 250.0
MIN_DURATIONS_MS = (125.0, 250.0)
#: tolerance in ms: an event includes the frame centred at its end
END_TOLERANCE_MS = 1e-4
THRESHOLD = 0.5
THRESHOLD_GRID = tuple(np.round(np.arange(0.1, 0.91, 0.05), 2))
#: largest number of frame decisions in memory
MAX_DECISIONS = 20_000_000


class Postprocessing(NamedTuple):
    """One point of the post-processing grid; durations in ms."""

    median_filter_ms: float = MEDIAN_FILTER_MS
    min_duration_ms: float = MIN_DURATIONS_MS[0]


def postprocessing_grid(
    median_filter_ms: Sequence[float] = (MEDIAN_FILTER_MS,), min_duration_ms: Sequence[float] = MIN_DURATIONS_MS
) -> List[Postprocessing]:
    """Every combination of the two lists."""
    return [Postprocessing(*point) for point in itertools.product(median_filter_ms, min_duration_ms)]


def frame_labels(times_ms: np.ndarray, events: Sequence[Event], index: Dict[str, int]) -> np.ndarray:
    """Frame targets (T, C) uint8 of one file: on where onset <= t < offset + 0.0001 ms."""
    labels = np.zeros((len(times_ms), len(index)), dtype=np.uint8)
    for onset, offset, label in events:
        on = (times_ms >= 1000.0 * onset) & (times_ms < 1000.0 * offset + END_TOLERANCE_MS)
        labels[on, index[label]] = 1
    return labels


@dataclass
class Timeline:
    """Frame times of several files.

    Attributes:
        times_ms: (T,) frame centres, files concatenated.
        bounds: (F + 1,) first frame of each file, then T.
    """

    times_ms: np.ndarray
    bounds: np.ndarray

    @property
    def num_files(self) -> int:
        return len(self.bounds) - 1

    def file_of_frame(self) -> np.ndarray:
        """(T,) file index of each frame."""
        return np.repeat(np.arange(self.num_files), np.diff(self.bounds))

    def hops_ms(self) -> np.ndarray:
        """(F,) mean hop of each file in ms, infinite for a single frame."""
        hops = np.full(self.num_files, np.inf)
        for f, (first, last) in enumerate(zip(self.bounds[:-1], self.bounds[1:])):
            if last - first > 1:
                hops[f] = (self.times_ms[last - 1] - self.times_ms[first]) / (last - first - 1)
        return hops

    def filter_widths(self, duration_ms: float) -> np.ndarray:
        """(F,) median filter length in frames: the duration divided by the file's mean hop, rounded; at least 1."""
        return np.maximum(1, np.rint(duration_ms / self.hops_ms())).astype(np.int64)


def too_short(events: EventTable, timeline: Timeline, grid: Sequence[Postprocessing]) -> np.ndarray:
    """(E,) bool: events that every post-processing of the grid removes, even with perfect frame decisions.

    A median filter of w frames removes runs of up to (w - 1) // 2 frames, so events that cover no more frames are lost.
    """
    hops = timeline.hops_ms()
    least = np.full(timeline.num_files, np.inf)
    for point in grid:
        removed = (timeline.filter_widths(point.median_filter_ms) - 1) // 2
        least = np.minimum(least, np.maximum(removed * np.where(removed > 0, hops, 0.0), point.min_duration_ms))
    return 1000.0 * (events.offset - events.onset) < least[events.file]


class MedianFilter:
    """Median filter of frame decisions, separately for each file, mirrored at its ends.

    A median filter commutes with a threshold, so it can run on binary decisions: as a difference of cumulative counts,
    at a cost that does not depend on the window length. Equals
    ``scipy.ndimage.median_filter(p, size=(width, 1)) > threshold`` (mode ``reflect``).
    """

    def __init__(self, timeline: Timeline, duration_ms: float) -> None:
        widths = timeline.filter_widths(duration_ms)
        before = widths // 2
        padded, low, high = [], [], []
        total = 0
        for first, last, width, left in zip(timeline.bounds[:-1], timeline.bounds[1:], widths, before):
            length = last - first
            place = np.arange(-left, length + width - left - 1)
            mirrored = np.mod(place, 2 * max(length, 1))
            padded.append(first + np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored))
            low.append(total + np.arange(length))
            high.append(total + np.arange(length) + width)
            total += length + width - 1 if length else 0
        join = lambda parts: np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)  # noqa: E731
        self.padded, self.low, self.high = join(padded).astype(np.int64), join(low), join(high)
        self.needed = np.repeat(widths - before, np.diff(timeline.bounds))[:, None]

    def __call__(self, active: np.ndarray) -> np.ndarray:
        """Filter decisions, (T, K) bool to (T, K) bool."""
        counts = np.zeros((len(self.padded) + 1, active.shape[1]), dtype=np.int32)
        np.cumsum(active[self.padded], axis=0, out=counts[1:], dtype=np.int32)
        return counts[self.high] - counts[self.low] >= self.needed


def find_events(active: np.ndarray, timeline: Timeline) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find runs of consecutive active frames within a file.

    Args:
        active: (T, K) bool.

    Returns:
        column (E,), first frame (E,), last frame (E,).
    """
    columns = np.ascontiguousarray(active.T)
    begins = columns.copy()
    begins[:, 1:] &= ~columns[:, :-1]
    ends = columns.copy()
    ends[:, :-1] &= ~columns[:, 1:]
    inner = timeline.bounds[1:-1]
    inner = inner[(inner > 0) & (inner < active.shape[0])]
    begins[:, inner] = columns[:, inner]
    ends[:, inner - 1] = columns[:, inner - 1]
    column, first = np.nonzero(begins)
    return column, first, np.nonzero(ends)[1]


class Decoder:
    """Turns the probabilities of one or several models into events of all files.

    Args:
        timeline: frame times of the files.
        grid: post-processing points.
    """

    def __init__(self, timeline: Timeline, grid: Sequence[Postprocessing]) -> None:
        self.timeline, self.grid = timeline, list(grid)
        self._filters = {p.median_filter_ms: MedianFilter(timeline, p.median_filter_ms) for p in self.grid}
        self._file_of_frame = timeline.file_of_frame()

    def events(self, active: np.ndarray, point: Postprocessing, num_classes: int) -> EventTable:
        """Events of decisions (T, M * C), model-major; the table's ``file`` is model * F + file."""
        smooth = self._filters[point.median_filter_ms](active)
        column, first, last = find_events(smooth, self.timeline)
        onset, offset = self.timeline.times_ms[first], self.timeline.times_ms[last]
        kept = offset - onset >= point.min_duration_ms
        model, label = np.divmod(column[kept], num_classes)
        file = model * self.timeline.num_files + self._file_of_frame[first[kept]]
        return EventTable(file, label, onset[kept] / 1000.0, offset[kept] / 1000.0)


def repeat_files(table: EventTable, times: int, num_files: int) -> EventTable:
    """Repeat events for each of ``times`` models, with the file numbering of :meth:`Decoder.events`."""
    file = np.repeat(np.arange(times), len(table.file)) * num_files + np.tile(table.file, times)
    return EventTable(file, np.tile(table.label, times), np.tile(table.onset, times), np.tile(table.offset, times))


def score_models(
    probabilities: np.ndarray,
    decoder: Decoder,
    reference: EventTable,
    metric: str,
    nan_without_events: bool = False,
) -> np.ndarray:
    """Score of each model at each post-processing point, (M, P); higher is better, so an error rate is negated.

    Args:
        probabilities: (M, T, C).
        nan_without_events: F of a model that predicts nothing is NaN, as in sed_eval, instead of 0.
    """
    models, frames, classes = probabilities.shape
    files = decoder.timeline.num_files
    scores = np.zeros((models, len(decoder.grid)))
    step = max(1, MAX_DECISIONS // max(1, frames * classes))
    for start in range(0, models, step):
        part = probabilities[start : start + step]
        active = (part > THRESHOLD).transpose(1, 0, 2).reshape(frames, -1)
        tiled = repeat_files(reference, len(part), files)
        for p, point in enumerate(decoder.grid):
            found = decoder.events(active, point, classes)
            if metric in EVENT_METRICS:
                counts = event_counts(tiled, found, len(part) * files, *EVENT_METRICS[metric])
                sums = counts.reshape(len(part), files, 3).sum(axis=1)
                undefined = nan_without_events & (sums[:, 2] == 0)
                scores[start : start + step, p] = np.where(undefined, np.nan, f_measure(sums))
            else:
                counts = segment_counts(tiled, found, len(part) * files, SEGMENT_METRICS[metric])
                scores[start : start + step, p] = -error_rate(counts.reshape(len(part), files, 4).sum(axis=1))
    return scores


def class_thresholds(
    probabilities: np.ndarray, decoder: Decoder, point: Postprocessing, reference: EventTable, metric: str
) -> np.ndarray:
    """Threshold of each class that gives the best micro F on these files, (C,), by coordinate ascent from 0.5.

    The counts of a class depend on its own threshold only, so each is decoded once for every threshold of the grid.

    Args:
        probabilities: (T, C) of the validation files. metric: an event-based metric.
    """
    grid, classes = np.asarray(THRESHOLD_GRID), probabilities.shape[1]
    files = decoder.timeline.num_files
    counts = np.zeros((len(grid), classes, 3))
    for i, threshold in enumerate(grid):
        found = decoder.events(probabilities > threshold, point, classes)
        # Count by class instead of by file: encode the class in the file index.
        wanted, given = (table._replace(file=table.label * files + table.file) for table in (reference, found))
        counts[i] = (
            event_counts(wanted, given, classes * files, *EVENT_METRICS[metric]).reshape(classes, files, 3).sum(1)
        )
    chosen = np.full(classes, int(np.argmin(np.abs(grid - THRESHOLD))))
    columns = np.arange(classes)
    for _ in range(10):
        before = chosen.copy()
        for c in range(classes):
            others = counts[chosen, columns].sum(axis=0) - counts[chosen[c], c]
            scores = f_measure(others + counts[:, c])
            if scores.max() > scores[chosen[c]]:
                chosen[c] = int(np.argmax(scores))
        if (before == chosen).all():
            break
    return grid[chosen]
