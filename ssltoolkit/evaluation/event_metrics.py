"""Event-based F and segment-based error rate of sound event detection, micro-averaged over files and classes.

Definitions of Mesaros, Heittola and Virtanen, "Metrics for Polyphonic Sound Event Detection" (2016), as sed_eval 0.2.1
computes them with optimal matching. All files and classes are matched in one vectorised pass. Counts are kept per file,
as a bootstrap over files needs.
"""

from __future__ import annotations

from typing import Dict, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from ssltoolkit.evaluation.metric import Metric

#: metric name -> (onset collar in s, share of the reference length allowed at the offset or None for onset only)
EVENT_METRICS = {
    "event_onset_200ms_fms": (0.2, None),
    "event_onset_50ms_fms": (0.05, None),
    "event_onset_offset_50ms_20perc_fms": (0.05, 0.2),
}
#: metric name -> segment length in s
SEGMENT_METRICS = {"segment_1s_er": 1.0}


class EventTable(NamedTuple):
    """Events of several files as columns of equal length.

    ``file`` and ``label`` are int64 indices, ``onset`` and ``offset`` float64 seconds.
    """

    file: np.ndarray
    label: np.ndarray
    onset: np.ndarray
    offset: np.ndarray

    @classmethod
    def from_lists(cls, events: Sequence[Sequence], vocabulary: Sequence[str]) -> EventTable:
        """From one list of ``(onset, offset, label)`` per file."""
        index = {label: i for i, label in enumerate(vocabulary)}
        rows = [(f, index[e[2]], e[0], e[1]) for f, found in enumerate(events) for e in found]
        columns = list(zip(*rows)) if rows else [(), (), (), ()]
        return cls.of(*columns)

    @classmethod
    def of(cls, file: Sequence, label: Sequence, onset: Sequence, offset: Sequence) -> EventTable:
        """From any four sequences."""
        return cls(
            np.asarray(file, dtype=np.int64),
            np.asarray(label, dtype=np.int64),
            np.asarray(onset, dtype=np.float64),
            np.asarray(offset, dtype=np.float64),
        )


def _candidates(reference: EventTable, system: EventTable, collar: float) -> tuple:
    """Index pairs (reference, system) of the same file and label whose onsets lie within the collar."""
    # Encode (file, label) and onset in one number, with groups further apart than the collar.
    stride = max(reference.onset.max(), system.onset.max()) + 2 * collar + 1.0
    labels = int(max(reference.label.max(), system.label.max())) + 1
    key_ref = (reference.file * labels + reference.label) * stride + reference.onset
    key_sys = (system.file * labels + system.label) * stride + system.onset
    order = np.argsort(key_sys, kind="stable")
    key_sys = key_sys[order]
    slack = 1e-9 * (1.0 + max(abs(key_ref).max(), abs(key_sys).max()))
    first = np.searchsorted(key_sys, key_ref - collar - slack, side="left")
    count = np.searchsorted(key_sys, key_ref + collar + slack, side="right") - first
    ref = np.repeat(np.arange(len(key_ref)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    sys = order[np.repeat(first, count) + within]
    same = (reference.file[ref] == system.file[sys]) & (reference.label[ref] == system.label[sys])
    near = np.abs(reference.onset[ref] - system.onset[sys]) <= collar
    return ref[same & near], sys[same & near]


def match_events(
    reference: EventTable, system: EventTable, collar: float, percentage_of_length: Optional[float] = None
) -> np.ndarray:
    """Largest one-to-one matching of system to reference events.

    Args:
        collar: allowed onset (and offset) difference in s, inclusive.
        percentage_of_length: if given, offsets must match too, within the larger of the collar and this share of the
            reference event's length.

    Returns:
        int64 (number of reference events,): index of the matched system event, -1 if unmatched.

    Example:
        >>> reference = EventTable.from_lists([[(0.0, 1.0, "dog"), (2.0, 3.0, "dog")]], ["dog"])
        >>> match_events(reference, EventTable.from_lists([[(2.1, 3.0, "dog")]], ["dog"]), collar=0.2).tolist()
        [-1, 0]
    """
    matched = np.full(len(reference.file), -1, dtype=np.int64)
    if not len(reference.file) or not len(system.file):
        return matched
    ref, sys = _candidates(reference, system, collar)
    if percentage_of_length is not None:
        length = reference.offset - reference.onset
        allowed = np.maximum(collar, percentage_of_length * length)
        near = np.abs(reference.offset[ref] - system.offset[sys]) <= allowed[ref]
        ref, sys = ref[near], sys[near]
    if not len(ref):
        return matched
    graph = csr_matrix((np.ones(len(ref), dtype=np.uint8), (ref, sys)), shape=(len(reference.file), len(system.file)))
    return maximum_bipartite_matching(graph, perm_type="column").astype(np.int64)


def event_counts(
    reference: EventTable,
    system: EventTable,
    num_files: int,
    collar: float,
    percentage_of_length: Optional[float] = None,
) -> np.ndarray:
    """Per-file sufficient statistics (F, 3) int64: true positives, reference events, system events."""
    matched = match_events(reference, system, collar, percentage_of_length)
    counts = np.zeros((num_files, 3), dtype=np.int64)
    counts[:, 0] = np.bincount(reference.file[matched >= 0], minlength=num_files)
    counts[:, 1] = np.bincount(reference.file, minlength=num_files)
    counts[:, 2] = np.bincount(system.file, minlength=num_files)
    return counts


def f_measure(counts: np.ndarray) -> np.ndarray:
    """F from (..., 3) counts of (tp, reference, system): 2 tp / (reference + system), 0 if there are no events.

    Example:
        >>> float(f_measure(np.array([3, 4, 4])))
        0.75
    """
    counts = np.asarray(counts, dtype=np.float64)
    return 2.0 * counts[..., 0] / np.maximum(counts[..., 1] + counts[..., 2], np.finfo(float).tiny)


def _active_segments(events: EventTable, length: float, labels: int, segments: int) -> np.ndarray:
    """Sorted unique codes of (file, segment, label) that contain an event."""
    first = np.floor(events.onset / length).astype(np.int64)
    count = np.maximum(np.ceil(events.offset / length).astype(np.int64) - first, 0)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    segment = np.repeat(first, count) + within
    code = (np.repeat(events.file, count) * segments + segment) * labels + np.repeat(events.label, count)
    return np.unique(code)


def segment_counts(reference: EventTable, system: EventTable, num_files: int, length: float = 1.0) -> np.ndarray:
    """Per-file sufficient statistics (F, 4) int64: substitutions, deletions, insertions, active reference segments.

    Args:
        length: segment length in s. A label is active in every segment that one of its events touches.
    """
    both = [np.concatenate(pair) for pair in zip(reference, system)]
    if not len(both[0]):
        return np.zeros((num_files, 4), dtype=np.int64)
    labels, segments = int(both[1].max()) + 1, int(np.ceil(both[3].max() / length)) + 1
    active_ref = _active_segments(reference, length, labels, segments)
    active_sys = _active_segments(system, length, labels, segments)
    true = np.intersect1d(active_ref, active_sys, assume_unique=True)
    places, index = np.unique(np.concatenate([active_ref, active_sys]) // labels, return_inverse=True)
    n_ref = np.bincount(index[: len(active_ref)], minlength=len(places))
    n_sys = np.bincount(index[len(active_ref) :], minlength=len(places))
    n_true = np.bincount(np.searchsorted(places, true // labels), minlength=len(places))
    columns = (np.minimum(n_ref, n_sys) - n_true, np.maximum(n_ref - n_sys, 0), np.maximum(n_sys - n_ref, 0), n_ref)
    counts = np.zeros((num_files, 4), dtype=np.int64)
    for i, column in enumerate(columns):
        np.add.at(counts[:, i], places // segments, column)
    return counts


def error_rate(counts: np.ndarray) -> np.ndarray:
    """(S + D + I) / Nref from (..., 4) counts.

    Without any active reference segment the rate is 0 if nothing was predicted, else the number of insertions.
    """
    counts = np.asarray(counts, dtype=np.float64)
    return counts[..., :3].sum(axis=-1) / np.maximum(counts[..., 3], 1.0)


def sed_statistics(
    reference: EventTable, system: EventTable, num_files: int, metrics: Sequence[str]
) -> Dict[str, np.ndarray]:
    """Per-file sufficient statistics of each named metric, (F, 3) or (F, 4)."""
    found: Dict[str, np.ndarray] = {}
    for name in metrics:
        if name in EVENT_METRICS:
            found[name] = event_counts(reference, system, num_files, *EVENT_METRICS[name])
        else:
            found[name] = segment_counts(reference, system, num_files, SEGMENT_METRICS[name])
    return found


def sed_scores(statistics: Mapping[str, np.ndarray]) -> Dict[str, float]:
    """Micro-averaged score of each metric from its per-file statistics."""
    return {
        name: float((f_measure if name in EVENT_METRICS else error_rate)(np.sum(counts, axis=0)))
        for name, counts in statistics.items()
    }


#: every metric of sound event detection
SED_METRICS = (
    Metric("event_onset_200ms_fms", "onset F 200 ms (%)", reduce=lambda sums, weight: f_measure(sums)),
    Metric("event_onset_50ms_fms", "onset F 50 ms (%)", reduce=lambda sums, weight: f_measure(sums)),
    Metric(
        "event_onset_offset_50ms_20perc_fms",
        "onset+offset F 50 ms/20 % (%)",
        reduce=lambda sums, weight: f_measure(sums),
    ),
    Metric(
        "segment_1s_er",
        "error rate 1 s ↓",
        "positive",
        higher_is_better=False,
        reduce=lambda sums, weight: error_rate(sums),
    ),
)
