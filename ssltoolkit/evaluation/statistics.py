"""Bootstrap intervals over files and seeds, and paired tests between two models on the same files.

Symbols: F files, S seeds, K counts. Rounds are the folds of a k-fold set (one round otherwise); a score is the mean
over rounds of the mean over seeds.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.evaluation.event_metrics import EVENT_METRICS, SEGMENT_METRICS, error_rate, f_measure
from ssltoolkit.evaluation.metrics import RANKED, Ranking

CONFIDENCE = 0.95
RESAMPLES = 1000
#: ranked metrics need a pass over all files for each replicate; larger sets take fewer replicates
RANKED_WORK = 300_000_000
LOWER_IS_BETTER = tuple(SEGMENT_METRICS)


class Counted:
    """A metric that is a function of sums over files, such as an accuracy, an F or an error rate.

    Args:
        metric: name. counts: (S, F, K) per-file statistics; K = 1 (correct or not), 3 or 4 as in ``event_metrics``.
    """

    def __init__(self, metric: str, counts: np.ndarray) -> None:
        self.metric, self.counts = metric, np.asarray(counts, dtype=np.float64)
        self.num_seeds, self.num_files = self.counts.shape[:2]

    def reduce(self, sums: np.ndarray, weight: Union[float, np.ndarray]) -> np.ndarray:
        """Score of summed counts (..., K); ``weight`` is the number of files that went into them."""
        if self.metric in EVENT_METRICS:
            return f_measure(sums)
        if self.metric in SEGMENT_METRICS:
            return error_rate(sums)
        return sums[..., 0] / weight

    def scores(self) -> np.ndarray:
        """(S,) score of each seed."""
        return self.reduce(self.counts.sum(axis=1), self.num_files)

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """(R, S) scores with files weighted by each row of ``weights`` (R, F)."""
        sums = np.einsum("rf,sfk->rsk", weights, self.counts, optimize=True)
        return self.reduce(sums, weights.sum(axis=1)[:, None])

    def swapped(self, other: Counted, masks: np.ndarray) -> np.ndarray:
        """(R,) difference of seed means after exchanging the files in each mask (R, F) with ``other``."""
        ours, theirs = self.counts.mean(axis=0), other.counts.mean(axis=0)
        moved = masks.astype(np.float64) @ (theirs - ours)
        ours, theirs = ours.sum(axis=0) + moved, theirs.sum(axis=0) - moved
        return self.reduce(ours, self.num_files) - self.reduce(theirs, self.num_files)


class Ranked:
    """A macro-averaged ranking metric: mAP, aucroc or d_prime.

    Args:
        scores: (S, F, C) class scores. targets: (F,) class indices or (F, C) 0/1.
    """

    def __init__(self, metric: str, scores: np.ndarray, targets: np.ndarray) -> None:
        self.metric, self.raw, self.targets = metric, np.asarray(scores), np.asarray(targets)
        self.num_seeds, self.num_files = self.raw.shape[:2]
        self._rankings = [Ranking(one, targets) for one in self.raw]

    def scores(self) -> np.ndarray:
        """(S,) score of each seed."""
        return np.array([RANKED[self.metric](ranking) for ranking in self._rankings])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """(R, S) scores with files weighted by each row of ``weights`` (R, F)."""
        return np.array([[RANKED[self.metric](ranking, row) for ranking in self._rankings] for row in weights])

    def swapped(self, other: Ranked, masks: np.ndarray) -> np.ndarray:
        """(R,) difference of seed means after exchanging the files in each mask (R, F) with ``other``."""
        seeds = min(self.num_seeds, other.num_seeds)
        differences = []
        for mask in masks:
            pair: Tuple[List[float], List[float]] = ([], [])
            for one, two in zip(self.raw[:seeds], other.raw[:seeds]):
                mixed = np.where(mask[:, None], two, one), np.where(mask[:, None], one, two)
                for found, values in zip(pair, mixed):
                    found.append(RANKED[self.metric](Ranking(values, self.targets)))
            differences.append(np.mean(pair[0]) - np.mean(pair[1]))
        return np.array(differences)


Evidence = Union[Counted, Ranked]


def mean_score(rounds: Sequence[Evidence]) -> np.ndarray:
    """(S,) score of each seed, averaged over rounds."""
    return np.mean([evidence.scores() for evidence in rounds], axis=0)


def _number_of_resamples(rounds: Sequence[Evidence], wanted: int) -> int:
    work = sum(e.raw.size for e in rounds if isinstance(e, Ranked))
    return int(min(wanted, max(100, RANKED_WORK // work))) if work else wanted


def _weights(rng: np.random.Generator, files: int, count: int) -> np.ndarray:
    """(count, files) how often each file is drawn, with replacement."""
    return rng.multinomial(files, np.full(files, 1.0 / files), size=count).astype(np.float64)


def _mean_over_drawn_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(R, S) to (R,): the mean over seeds drawn with replacement."""
    drawn = rng.integers(scores.shape[1], size=scores.shape)
    return np.take_along_axis(scores, drawn, axis=1).mean(axis=1)


def _percentiles(values: np.ndarray) -> Tuple[float, float]:
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def confidence_interval(rounds: Sequence[Evidence], seed: int = 0, resamples: int = RESAMPLES) -> Tuple[float, float]:
    """95 % percentile bootstrap interval; each replicate draws files (within a round) and seeds with replacement."""
    rng = np.random.default_rng([seed, 95])
    count = _number_of_resamples(rounds, resamples)
    values = [_mean_over_drawn_seeds(e.resampled(_weights(rng, e.num_files, count)), rng) for e in rounds]
    return _percentiles(np.mean(values, axis=0))


class Comparison(NamedTuple):
    """Model A minus model B: score difference, its 95 % interval and two-sided p-value."""

    difference: float
    ci95: Tuple[float, float]
    p_value: float


def compare(a: Sequence[Evidence], b: Sequence[Evidence], seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Paired comparison on the same files, in the same order.

    The interval is a paired bootstrap (the same files drawn for both models, seeds drawn for each by itself). The
    p-value is a permutation test: under the null hypothesis a file's results are as likely to come from one model as
    from the other.
    """
    rng = np.random.default_rng([seed, 2])
    count = _number_of_resamples([*a, *b], resamples)
    bootstrap, permuted = np.zeros(count), np.zeros(count)
    for one, two in zip(a, b):
        weights = _weights(rng, one.num_files, count)
        bootstrap += _mean_over_drawn_seeds(one.resampled(weights), rng) / len(a)
        bootstrap -= _mean_over_drawn_seeds(two.resampled(weights), rng) / len(a)
        masks = rng.integers(0, 2, size=(count, one.num_files)).astype(bool)
        permuted += one.swapped(two, masks) / len(a)  # type: ignore[arg-type]
    difference = float(mean_score(a).mean() - mean_score(b).mean())
    # Differences equal up to rounding count as equal; the observed arrangement is one of the permutations.
    extreme = np.sum(np.abs(permuted) >= abs(_unpermuted(a, b)) - 1e-12)
    return Comparison(difference, _percentiles(bootstrap), float((1 + extreme) / (1 + count)))


def _unpermuted(a: Sequence[Evidence], b: Sequence[Evidence]) -> float:
    """The permutation statistic of the arrangement that was observed."""
    parts = [one.swapped(two, np.zeros((1, one.num_files), dtype=bool))[0] for one, two in zip(a, b)]  # type: ignore
    return float(np.mean(parts))


def evidence(
    metric: str, counts: Optional[np.ndarray], scores: Optional[np.ndarray], targets: Optional[np.ndarray]
) -> Evidence:
    """The right kind of evidence for a metric: class scores for a ranking metric, per-file counts for the others."""
    if metric in RANKED:
        if scores is None or targets is None:
            raise ValueError(f"{metric} needs class scores and targets")
        return Ranked(metric, scores, targets)
    if counts is None:
        raise ValueError(f"{metric} needs per-file counts")
    return Counted(metric, counts)
