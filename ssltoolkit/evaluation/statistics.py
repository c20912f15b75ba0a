"""Bootstrap intervals over files and seeds, and paired tests between two models on the same files.

Symbols: F files, S seeds, K counts, R replicates. Rounds are the folds of a k-fold set (one round otherwise); a score is
the mean over rounds of the mean over seeds. A seed is one probe or, in merged results, one pre-training run; either way it
is the same for all rounds.

A mean over S drawn seeds has only (S - 1) / S of the variance that the mean over S seeds has ("narrowness bias": Hesterberg,
What teachers should know about the bootstrap, The American Statistician 69, 2015), so drawn means are moved away from the
mean of all seeds by sqrt(S / (S - 1)). What remains is that two or three seeds know their variance poorly, as a t
distribution shows that a percentile interval does not follow: where seeds differ more than files explain, such intervals
are still somewhat narrow, and p-values somewhat small.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.evaluation.event_metrics import EVENT_METRICS, SEGMENT_METRICS, error_rate, f_measure
from ssltoolkit.evaluation.metrics import RANKED, Ranking

#: percentiles that bound a 95 % interval
TAILS = (2.5, 97.5)
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


class Ranked:
    """A macro-averaged ranking metric: mAP, aucroc or d_prime.

    Args:
        scores: (S, F, C) class scores. targets: (F,) class indices or (F, C) 0/1. kit_rules: as for ``Ranking``.
    """

    def __init__(self, metric: str, scores: np.ndarray, targets: np.ndarray, kit_rules: bool = False) -> None:
        self.metric, self.size = metric, np.size(scores)
        self.num_seeds, self.num_files = np.shape(scores)[:2]
        self._rankings = [Ranking(one, targets, kit_rules) for one in scores]

    def scores(self) -> np.ndarray:
        """(S,) score of each seed."""
        return np.array([RANKED[self.metric](ranking) for ranking in self._rankings])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """(R, S) scores with files weighted by each row of ``weights`` (R, F)."""
        return np.array([[RANKED[self.metric](ranking, row) for ranking in self._rankings] for row in weights])


Evidence = Union[Counted, Ranked]


def mean_score(rounds: Sequence[Evidence]) -> np.ndarray:
    """(S,) score of each seed, averaged over rounds."""
    return np.mean([evidence.scores() for evidence in rounds], axis=0)


def _number_of_resamples(rounds: Sequence[Evidence], wanted: int) -> int:
    work = sum(e.size for e in rounds if isinstance(e, Ranked))
    return int(min(wanted, max(100, RANKED_WORK // work))) if work else wanted


def _weights(rng: np.random.Generator, files: int, count: int) -> np.ndarray:
    """(count, files) how often each file is drawn, with replacement."""
    return rng.multinomial(files, np.full(files, 1.0 / files), size=count).astype(np.float64)


def over_drawn_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(R, S) to (R,): the mean over seeds drawn with replacement, with the spread of a mean over S seeds."""
    seeds = scores.shape[1]
    centre = scores.mean(axis=1)
    if seeds == 1:
        return centre
    drawn = np.take_along_axis(scores, rng.integers(seeds, size=scores.shape), axis=1).mean(axis=1)
    return centre + np.sqrt(seeds / (seeds - 1)) * (drawn - centre)


def percentiles(values: np.ndarray, metric: str) -> Tuple[float, float]:
    """95 % interval of replicates (R,) of a score, within the values that the metric can have."""
    lowest = -np.inf if metric == "d_prime" else 0.0
    highest = np.inf if metric == "d_prime" or metric in LOWER_IS_BETTER else 1.0
    low, high = np.clip(np.percentile(values, TAILS), lowest, highest)
    return float(low), float(high)


def _replicates(rounds: Sequence[Evidence], weights: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(R,) scores with the files of each round weighted by ``weights`` (R, F), and seeds drawn."""
    scores = [one.resampled(drawn) for one, drawn in zip(rounds, weights)]
    return over_drawn_seeds(np.mean(scores, axis=0), rng)


def confidence_interval(rounds: Sequence[Evidence], seed: int = 0, resamples: int = RESAMPLES) -> Tuple[float, float]:
    """95 % percentile bootstrap interval; each replicate draws files (within a round) and seeds with replacement."""
    rng = np.random.default_rng([seed, 95])
    count = _number_of_resamples(rounds, resamples)
    weights = [_weights(rng, one.num_files, count) for one in rounds]
    return percentiles(_replicates(rounds, weights, rng), rounds[0].metric)


class Comparison(NamedTuple):
    """Model A minus model B: score difference, its 95 % interval, two-sided p-value, and the replicates behind the two."""

    difference: float
    ci95: Tuple[float, float]
    p_value: float
    replicates: int = RESAMPLES

    @property
    def smallest_p(self) -> float:
        """The p-value of a difference that no replicate contradicts."""
        return 2.0 / (1 + self.replicates)


def compare(a: Sequence[Evidence], b: Sequence[Evidence], seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Paired comparison on the same files, in the same order.

    One bootstrap gives the interval and the p-value: each replicate draws files, the same for both models, and seeds, for
    each model by itself. The p-value is twice the share of replicates on the other side of 0, or on it, where the observed
    difference counts as one replicate more (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).
    """
    rng = np.random.default_rng([seed, 2])
    count = _number_of_resamples([*a, *b], resamples)
    weights = [_weights(rng, one.num_files, count) for one in a]
    differences = _replicates(a, weights, rng) - _replicates(b, weights, rng)
    # Differences equal up to rounding count as equal.
    contrary = min(np.sum(differences <= 1e-12), np.sum(differences >= -1e-12))
    low, high = np.percentile(differences, TAILS)
    observed = float(mean_score(a).mean() - mean_score(b).mean())
    return Comparison(observed, (float(low), float(high)), min(1.0, float(2 * (1 + contrary) / (1 + count))), count)


def evidence(
    metric: str, counts: Optional[np.ndarray], scores: Optional[np.ndarray], targets: Optional[np.ndarray], kit_rules: bool = False
) -> Evidence:
    """The right kind of evidence for a metric: class scores for a ranking metric, per-file counts for the others."""
    if metric in RANKED:
        if scores is None or targets is None:
            raise ValueError(f"{metric} needs class scores and targets")
        return Ranked(metric, scores, targets, kit_rules)
    if counts is None:
        raise ValueError(f"{metric} needs per-file counts")
    return Counted(metric, counts)
