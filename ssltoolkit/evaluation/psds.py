"""Polyphonic sound detection score (Bilen et al., ICASSP 2020), computed by ``sed_scores_eval`` (Ebbers et al., ICASSP
2022).

The score integrates over all thresholds, so it is computed from median-filtered posteriors and needs no threshold."""

from __future__ import annotations

import importlib
from typing import Any, Dict, List, Sequence

import numpy as np

from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.event_metrics import EventTable
from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.sed import Timeline

#: the two scenarios of DCASE task 4, 2021 to 2023: 1 requires fast reaction, 2 penalises confusion of classes
SCENARIOS: Dict[str, Dict[str, float]] = {
    "psds1": {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0, "alpha_st": 1.0, "max_efpr": 100.0},
    "psds2": {
        "dtc_threshold": 0.1,
        "gtc_threshold": 0.1,
        "cttc_threshold": 0.3,
        "alpha_ct": 0.5,
        "alpha_st": 1.0,
        "max_efpr": 100.0,
    },
}
PSDS_METRICS = (Metric("psds1", "PSDS 1 (%)"), Metric("psds2", "PSDS 2 (%)"))
RESAMPLES = 100


def require() -> Any:
    """Import the part of sed_scores_eval that is used.

    Raises:
        UserError: not installed, or incompatible with the installed pandas.
    """
    try:
        return importlib.import_module("sed_scores_eval.intersection_based"), importlib.import_module(
            "sed_scores_eval.base_modules.scores"
        )
    except ImportError as error:
        raise UserError(f"--psds true needs sed_scores_eval ({error}); pip install 'ssltoolkit[psds]'") from None


def psds(
    posteriors: Sequence[np.ndarray],
    timeline: Timeline,
    reference: EventTable,
    vocabulary: Sequence[str],
    median_filter_ms: Sequence[float],
    seed: int = 0,
) -> Dict[str, np.ndarray]:
    """PSDS of both scenarios for every model, and for bootstrap samples of the files.

    Args:
        posteriors: (T, C) for each of S models, frames of all files concatenated.
        timeline: frame times of the files.
        reference: events; ``file`` indexes the timeline's files.
        vocabulary: C class names.
        median_filter_ms: median filter of each model, applied to its posteriors first.
        seed: seed of the bootstrap.

    Returns:
        scenario -> (S, 1 + RESAMPLES) float64: the score, then that of each sample; all models share the samples.
    """
    intersection, _ = require()
    names = [f"{file:06d}" for file in range(timeline.num_files)]
    truth = _truth(reference, names, vocabulary)
    edges = [_edges(timeline, file) for file in range(timeline.num_files)]
    lengths = {name: float(edge[-1]) for name, edge in zip(names, edges)}
    samples = np.random.default_rng([seed, 5]).integers(0, len(names), (RESAMPLES, len(names)))
    scores = {scenario: np.zeros((len(posteriors), 1 + RESAMPLES)) for scenario in SCENARIOS}
    for model, (values, width) in enumerate(zip(posteriors, median_filter_ms)):
        frames = _frames(values, timeline, edges, names, vocabulary, width)
        for scenario, options in SCENARIOS.items():
            criteria = {key: value for key, value in options.items() if key.endswith("threshold")}
            deltas = intersection.intermediate_statistics_deltas(scores=frames, ground_truth=truth, **criteria)
            scores[scenario][model, 0] = _score(intersection, options, truth, lengths, deltas)
            for number, files in enumerate(samples, 1):
                drawn = {f"{place}-{names[file]}": names[file] for place, file in enumerate(files)}
                parts = ({key: table[name] for key, name in drawn.items()} for table in (truth, lengths, deltas))
                scores[scenario][model, number] = _score(intersection, options, *parts)
    return scores


def _truth(reference: EventTable, names: List[str], vocabulary: Sequence[str]) -> Dict[str, List[tuple]]:
    """Events by file. Touching or overlapping events of one class are merged: the score counts time, not events."""
    truth: Dict[str, List[tuple]] = {name: [] for name in names}
    order = np.lexsort((reference.onset, reference.label, reference.file))
    for file, label, onset, offset in zip(*(column[order].tolist() for column in reference)):
        found, name = truth[names[file]], vocabulary[label]
        if found and found[-1][2] == name and onset <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], offset), name)
        else:
            found.append((onset, offset, name))
    return truth


def _score(intersection: Any, options: Dict[str, float], truth: dict, lengths: dict, deltas: dict) -> float:
    return intersection.psds(scores=None, ground_truth=truth, audio_durations=lengths, deltas=deltas, **options)[0]


def _edges(timeline: Timeline, file: int) -> np.ndarray:
    """(T + 1,) boundaries of a file's frames in seconds, starting at 0: midpoints between frame centres."""
    times = timeline.times_ms[timeline.bounds[file] : timeline.bounds[file + 1]] / 1000.0
    if len(times) < 2:
        return np.array([0.0, 2 * times[0]]) if len(times) else np.zeros(1)
    middle = (times[1:] + times[:-1]) / 2
    return np.concatenate([[0.0], middle, [times[-1] + (times[-1] - times[-2]) / 2]])


def _frames(
    posteriors: np.ndarray,
    timeline: Timeline,
    edges: List[np.ndarray],
    names: List[str],
    vocabulary: Sequence[str],
    median_filter_ms: float,
) -> Dict[str, Any]:
    """Data frames for sed_scores_eval, by file."""
    from scipy.ndimage import median_filter

    create = require()[1].create_score_dataframe
    widths, found = timeline.filter_widths(median_filter_ms), {}
    for file, name in enumerate(names):
        values = posteriors[timeline.bounds[file] : timeline.bounds[file + 1]].astype(np.float64)
        found[name] = create(
            median_filter(values, size=(int(widths[file]), 1)), np.round(edges[file], 6), list(vocabulary)
        )
    return found
