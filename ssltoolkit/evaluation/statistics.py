"""Bootstrap intervals over files and seeds, and paired tests between two models on the same files.

Files are not resampled: each replicate gives every file a random weight (Bayesian bootstrap: Rubin, Annals of
Statistics 9, 1981). A class with one positive file thus keeps it in every replicate. Resampling would lose the class or
count the file several times, which biases all replicates of an mAP. Replicates are then centred on the score and
widened to the spread of a t interval (Hesterberg, see below), on the logit scale for scores from 0 to 1 and on the log
scale for error rates and other positive numbers, so that an interval contains its score. The coverage of the intervals
is in the table of docs/statistics.md, which ``python tools/interval_coverage.py`` regenerates.

Symbols: F files, S seeds, K counts, R replicates. Rounds are the folds of a k-fold set (one round otherwise); a score
is the mean over rounds of the mean over seeds. A seed is one probe or, in merged results, one pre-training run; all
rounds have the same seeds.

The mean over S resampled seeds has only (S - 1) / S of the variance of the mean over S seeds ("narrowness bias":
Hesterberg, What teachers should know about the bootstrap, The American Statistician 69, 2015), so deviations of
resampled means from the mean of all seeds are scaled by sqrt(S / (S - 1)). One limitation remains: the variance
estimate from two or three seeds is poor, and percentile intervals do not correct for it as a t distribution would. If
seeds differ more than files explain, such intervals are still somewhat narrow, and p-values somewhat small."""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm
from scipy.stats import t as student_t

from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.metrics import BY_CLASS, RANKED, Ranking, one_hot

#: percentiles that bound a 95 % interval
TAILS = (2.5, 97.5)
RESAMPLES = 1000
#: power for which the smallest detectable difference is reported
POWER = 0.8
#: ranked metrics need a pass over all files for each replicate; larger sets use fewer replicates
RANKED_WORK = 300_000_000


class Counted:
    """A metric that is a function of sums over files, such as an accuracy, an F or an error rate.

    Args:
        counts: (S, F, K) per-file statistics; K = 1 (correct or not, or an error), 3 or 4 as in ``event_metrics``.
    """

    def __init__(self, metric: Metric, counts: np.ndarray) -> None:
        self.metric, self.counts = metric, np.asarray(counts, dtype=np.float64)
        self.num_seeds, self.num_files = self.counts.shape[:2]

    def scores(self) -> np.ndarray:
        """(S,) score of each seed."""
        return self.metric.reduce(self.counts.sum(axis=1), self.num_files)

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """(R, S) scores with files weighted by each row of ``weights`` (R, F)."""
        sums = np.einsum("rf,sfk->rsk", weights, self.counts, optimize=True)
        return self.metric.reduce(sums, weights.sum(axis=1)[:, None])


class Ranked:
    """A macro-averaged ranking metric: mAP, aucroc or d_prime.

    Args:
        scores: (S, F, C) class scores. targets: (F,) class indices or (F, C) 0/1. hear_rules: as for ``Ranking``.
    """

    def __init__(self, metric: Metric, scores: np.ndarray, targets: np.ndarray, hear_rules: bool = False) -> None:
        self.metric, self.size = metric, np.size(scores)
        self.num_seeds, self.num_files = np.shape(scores)[:2]
        self._rankings = [Ranking(one, targets, hear_rules) for one in scores]
        self._hot = one_hot(targets, np.shape(scores)[2]).astype(bool)

    def scores(self) -> np.ndarray:
        """(S,) score of each seed."""
        return np.array([RANKED[self.metric.name](ranking) for ranking in self._rankings])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """(R, S) scores with files weighted by each row of ``weights`` (R, F).

        The spread of a class with k positives comes from k files: its values are widened by sqrt((k + 1) / (k - 1))
        around their mean. A class with one positive has no spread between positives; it borrows that of a positive
        drawn from the other classes, the same draw for every model on these files.
        """
        # (R, S, C)
        values = np.stack([[BY_CLASS[self.metric.name](ranking, row) for ranking in self._rankings] for row in weights])
        positives = self._rankings[0].positives
        several = np.where(positives > 1, np.sqrt((positives + 1) / np.maximum(positives - 1, 1)), 1.0)
        middle = values.mean(axis=0, keepdims=True)
        values = middle + several * (values - middle)
        if self.metric.name == "mAP":
            values[:, :, positives == 1] += self._borrowed(len(weights), int((positives == 1).sum()))
        known = ~np.isnan(middle[0, 0])
        return values[:, :, known].mean(axis=2) if known.any() else np.zeros(values.shape[:2])

    def _borrowed(self, replicates: int, classes: int) -> np.ndarray:
        """(R, S, classes) difference of the precision at a drawn positive from the average precision of its class."""
        file, column = np.nonzero(self._hot & (self._hot.sum(axis=0) > 1))
        if not len(file) or not classes:
            return np.zeros((replicates, self.num_seeds, classes))
        count = self._hot.sum(axis=0)
        precisions = np.stack([ranking.precisions() for ranking in self._rankings])  # (S, F, C)
        means = np.where(self._hot, precisions, 0.0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
        apart = ((precisions - means) * np.sqrt(count / np.maximum(count - 1, 1)))[:, file, column]
        drawn = np.random.default_rng([len(file), 1]).integers(len(file), size=(replicates, classes))
        return apart[:, drawn].transpose(1, 0, 2)


Evidence = Union[Counted, Ranked]


def mean_score(rounds: Sequence[Evidence]) -> np.ndarray:
    """(S,) score of each seed, averaged over rounds."""
    return np.mean([evidence.scores() for evidence in rounds], axis=0)


def _number_of_resamples(rounds: Sequence[Evidence], wanted: int) -> int:
    work = sum(e.size for e in rounds if isinstance(e, Ranked))
    return int(min(wanted, max(100, RANKED_WORK // work))) if work else wanted


def _weights(rng: np.random.Generator, files: int, count: int) -> np.ndarray:
    """(count, files) random file weights with mean 1 over all replicates."""
    return rng.standard_exponential((count, files))


def _widening(files: int) -> float:
    """Factor from the spread of replicates to that of a t interval.

    The variance of a weighted mean is (F - 1) / (F + 1) times that of the mean of F files.
    """
    if files < 2:
        return 1.0
    return float(
        np.sqrt((files + 1) / (files - 1)) * student_t.ppf(TAILS[1] / 100, files - 1) / norm.ppf(TAILS[1] / 100)
    )


def over_drawn_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(R, S) to (R,): mean over seeds resampled with replacement, scaled to the spread of a mean over S seeds."""
    seeds = scores.shape[1]
    centre = scores.mean(axis=1)
    if seeds == 1:
        return centre
    drawn = np.take_along_axis(scores, rng.integers(seeds, size=scores.shape), axis=1).mean(axis=1)
    return centre + np.sqrt(seeds / (seeds - 1)) * (drawn - centre)


def percentiles(values: np.ndarray, metric: Metric) -> Tuple[float, float]:
    """95 % interval of replicates (R,) of a score, clipped to the metric's range."""
    lowest = -np.inf if metric.values == "real" else 0.0
    highest = 1.0 if metric.values == "share" else np.inf
    low, high = np.clip(np.percentile(values, TAILS), lowest, highest)
    return float(low), float(high)


def centred(values: np.ndarray, score: float, files: int) -> np.ndarray:
    """Replicates (R,) shifted so that their mean is the score, and widened."""
    return score + _widening(files) * (values - values.mean())


def interval(values: np.ndarray, score: float, metric: Metric, files: int) -> Tuple[float, float]:
    """95 % interval that contains its score.

    Args:
        values: (R,) replicates. score: score of the unweighted files. files: number of files.
    """
    edge = 0.25 / files
    if metric.values == "real":
        low, high = np.percentile(centred(values, score, files), TAILS)
    elif metric.values == "positive":
        low, high = np.exp(
            np.percentile(centred(np.log(np.maximum(values, edge)), np.log(max(score, edge)), files), TAILS)
        )
        low = 0.0 if low <= edge else low
    else:
        scaled = centred(logit(np.clip(values, edge, 1 - edge)), float(logit(np.clip(score, edge, 1 - edge))), files)
        low, high = expit(np.percentile(scaled, TAILS))
        if np.ptp(values) < 1e-12:  # all files right, or none: use Wilson's interval
            share = files / (files + norm.ppf(TAILS[1] / 100) ** 2)
            low, high = min(low, share if score >= 1 - edge else low), max(high, 1 - share if score <= edge else high)
        low, high = 0.0 if low <= edge else low, 1.0 if high >= 1 - edge else high
    return min(float(low), score), max(float(high), score)


def _replicates(rounds: Sequence[Evidence], weights: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(R,) scores with the files of each round weighted by ``weights`` (R, F), and seeds resampled.

    A round counts as much as its files were weighted on average. Otherwise rounds of one file would have no spread.
    """
    scores = np.stack([one.resampled(drawn) for one, drawn in zip(rounds, weights)])
    shares = np.stack([drawn.mean(axis=1, keepdims=True) for drawn in weights])
    return over_drawn_seeds((scores * shares).sum(axis=0) / shares.sum(axis=0), rng)


def confidence_interval(rounds: Sequence[Evidence], seed: int = 0, resamples: int = RESAMPLES) -> Tuple[float, float]:
    """95 % bootstrap interval; each replicate weights files (within a round) and resamples seeds with replacement."""
    rng = np.random.default_rng([seed, 95])
    count = _number_of_resamples(rounds, resamples)
    weights = [_weights(rng, one.num_files, count) for one in rounds]
    files = sum(one.num_files for one in rounds)
    return interval(_replicates(rounds, weights, rng), float(mean_score(rounds).mean()), rounds[0].metric, files)


class Comparison(NamedTuple):
    """Model A minus model B: score difference, its 95 % interval, two-sided p-value, and the bootstrap replicates."""

    difference: float
    ci95: Tuple[float, float]
    p_value: float
    replicates: int = RESAMPLES

    @property
    def smallest_p(self) -> float:
        """Smallest possible p-value: that of a difference with the same sign in all replicates."""
        return 2.0 / (1 + self.replicates)

    @property
    def detectable(self) -> float:
        """Minimum detectable difference: a true difference of this size would be significant in 80 % of such test sets
        (power 0.8, level 0.05).
        """
        low, high = self.ci95
        return float((high - low) / 2 * (1 + norm.ppf(POWER) / norm.ppf(TAILS[1] / 100)))


def _is_accuracy(one: Evidence) -> bool:
    """Whether each file is right or wrong."""
    return isinstance(one, Counted) and one.counts.shape[2] == 1 and one.metric.values == "share"


def compare(a: Sequence[Evidence], b: Sequence[Evidence], seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Paired comparison on the same files, in the same order.

    One bootstrap gives the interval and the p-value. Each replicate weights files, equally for both models, and
    resamples seeds, separately for each model; the differences are centred on the observed one and widened. The p-value
    is twice the share of replicates at 0 or on the other side of it, with the observed difference counted as one more
    replicate (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).
    """
    rng = np.random.default_rng([seed, 2])
    count = _number_of_resamples([*a, *b], resamples)
    weights = [_weights(rng, one.num_files, count) for one in a]
    differences = _replicates(a, weights, rng) - _replicates(b, weights, rng)
    observed = float(mean_score(a).mean() - mean_score(b).mean())
    files = sum(one.num_files for one in a)
    alike = np.ptp(differences) <= 1e-12  # on all files
    identical = alike and abs(observed) <= 1e-12
    largest = 1.0 if a[0].metric.values == "share" else np.inf
    if files < 2 and not identical:  # one file says nothing about the spread between files
        return Comparison(observed, (-largest, largest), 1.0, count)
    if not identical and (alike or all(_is_accuracy(one) for one in (*a, *b))):
        # Add the variance of two more files, on each of which only one of the models is right, or which differ as all
        # others do: if models differ on few files, or on all files alike, the bootstrap underestimates the spread (like
        # added cells: Agresti and Min, Biometrics 61, 2005).
        scale = abs(observed) if alike else 1.0
        differences = differences + rng.normal(0.0, scale * np.sqrt(2.0) / files, len(differences))
    differences = centred(differences, observed, files)
    # Differences equal up to rounding count as equal.
    contrary = min(np.sum(differences <= 1e-12), np.sum(differences >= -1e-12))
    low, high = np.clip(np.percentile(differences, TAILS), -largest, largest)
    return Comparison(observed, (float(low), float(high)), min(1.0, float(2 * (1 + contrary) / (1 + count))), count)


def evidence(
    metric: Metric,
    counts: Optional[np.ndarray],
    scores: Optional[np.ndarray],
    targets: Optional[np.ndarray],
    hear_rules: bool = False,
) -> Evidence:
    """Inputs of the statistics for a metric: class scores for ranking metrics, per-file counts for the others."""
    if metric.name in RANKED:
        if scores is None or targets is None:
            raise ValueError(f"{metric.name} needs class scores and targets")
        return Ranked(metric, scores, targets, hear_rules)
    if counts is None:
        raise ValueError(f"{metric.name} needs per-file counts")
    return Counted(metric, counts)
