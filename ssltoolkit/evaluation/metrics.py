"""Scores of clip and pitch tasks from class scores of each file.

Symbols: F files, C classes. ``scores`` are probabilities or logits (F, C); ``targets`` are class indices (F,) for
multiclass and 0/1 (F, C) for multilabel tasks. Event metrics are in :mod:`ssltoolkit.evaluation.event_metrics`.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np
from scipy.special import ndtri

from ssltoolkit.evaluation.metric import Metric

TOP1_ACC = Metric("top1_acc", "accuracy (%)")
PITCH_ACC = Metric("pitch_acc", "pitch acc. (%)")
CHROMA_ACC = Metric("chroma_acc", "chroma acc. (%)")
MEAN_AP = Metric("mAP", "mAP (%)")
AUCROC = Metric("aucroc", "ROC AUC (%)")
D_PRIME = Metric("d_prime", "d′", "real")
RANKING_METRICS = (MEAN_AP, AUCROC, D_PRIME)


def correct_classes(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether the highest score is the target, (F,) bool; of several labels (F, C) only the first counts, as in
    hear-eval-kit.
    """
    targets = np.asarray(targets)
    return np.argmax(scores, axis=1) == (targets.argmax(axis=1) if targets.ndim == 2 else targets)


def correct_chroma(scores: np.ndarray, targets: np.ndarray, midi: Sequence[int]) -> np.ndarray:
    """Whether the predicted pitch is the target or octaves away from it, (F,) bool.

    Args:
        midi: (C,) MIDI number of each class. Pitch classes are MIDI modulo 12, so vocabularies may have gaps.
    """
    chroma = np.asarray(midi) % 12
    return chroma[np.argmax(scores, axis=1)] == chroma[targets]


def one_hot(targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Targets as (F, C) 0/1; class indices are converted."""
    targets = np.asarray(targets)
    return targets if targets.ndim == 2 else np.eye(num_classes, dtype=np.uint8)[targets]


def top1_acc(scores: np.ndarray, targets: np.ndarray) -> float:
    """Share of files whose highest score is the target.

    Example:
        >>> top1_acc(np.array([[0.2, 0.8], [0.4, 0.6]]), np.array([1, 0]))
        0.5
    """
    return float(correct_classes(scores, targets).mean())


def pitch_acc(scores: np.ndarray, targets: np.ndarray) -> float:
    """Share of files with the right MIDI number."""
    return top1_acc(scores, targets)


def chroma_acc(scores: np.ndarray, targets: np.ndarray, midi: Sequence[int]) -> float:
    """Share of files with the right pitch class."""
    return float(correct_chroma(scores, targets, midi).mean())


class Ranking:
    """Average precision and ROC AUC of every class, for any weighting of the files.

    Scores are sorted once, so that a bootstrap replicate (a weight for each file) costs a few passes over (F, C). Equal
    scores share one threshold. Classes without a positive file of positive weight are undefined and excluded from the
    means. A class that every file has gets average precision 1; it has no ROC curve and is excluded from aucroc and
    d_prime.

    Args:
        scores: (F, C). targets: (F, C) 0/1 or (F,) class indices.
        hear_rules: the average precision of a class without positives is 0, as in scikit-learn and hear-eval-kit. In
            the kit aucroc and d_prime are then undefined altogether; here they are still means over the defined
            classes.
    """

    def __init__(self, scores: np.ndarray, targets: np.ndarray, hear_rules: bool = False) -> None:
        scores, self.hear_rules = np.asarray(scores), hear_rules
        self.num_files, num_classes = scores.shape
        self.order = np.argsort(-scores, axis=0, kind="stable")
        ranked = np.take_along_axis(scores, self.order, axis=0)
        self.positive = np.take_along_axis(one_hot(targets, num_classes), self.order, axis=0).astype(np.float64)
        # Files with equal scores form a run from position ``before`` to ``last`` and share a threshold.
        starts = np.ones_like(ranked, dtype=bool)
        starts[1:] = ranked[1:] != ranked[:-1]
        places = np.arange(self.num_files)[:, None]
        self.before = np.maximum.accumulate(np.where(starts, places, 0), axis=0)
        ends = np.vstack([starts[1:], np.ones((1, num_classes), dtype=bool)])
        self.last = np.minimum.accumulate(np.where(ends, places, self.num_files)[::-1], axis=0)[::-1]

    def _weighted_sums(self, weights: Optional[np.ndarray]) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Weights of positives and negatives (F, C), and their cumulative sums over 0 ... F positions (F + 1, C)."""
        weight = 1.0 if weights is None else weights[self.order]
        true, false = weight * self.positive, weight * (1.0 - self.positive)
        zero = np.zeros((1, self.positive.shape[1]))
        return true, false, np.vstack([zero, np.cumsum(true, axis=0)]), np.vstack([zero, np.cumsum(false, axis=0)])

    @property
    def positives(self) -> np.ndarray:
        """(C,) number of positive files of each class."""
        return self.positive.sum(axis=0)

    def precisions(self) -> np.ndarray:
        """(F, C) precision at each file's score; the average precision of a class is their mean over its positives."""
        ranked = self._ranked_precisions(*self._weighted_sums(None)[2:])
        found = np.empty_like(ranked)
        np.put_along_axis(found, self.order, ranked, axis=0)
        return found

    def _ranked_precisions(self, true_sum: np.ndarray, false_sum: np.ndarray) -> np.ndarray:
        hits = np.take_along_axis(true_sum, self.last + 1, axis=0)
        misses = np.take_along_axis(false_sum, self.last + 1, axis=0)
        return hits / np.maximum(hits + misses, np.finfo(float).tiny)

    def average_precisions(self, weights: Optional[np.ndarray] = None) -> np.ndarray:
        """(C,) area under precision over recall as a step function; NaN where undefined."""
        true, _, true_sum, false_sum = self._weighted_sums(weights)
        precision = self._ranked_precisions(true_sum, false_sum)
        found = self._defined((true * precision).sum(axis=0), true_sum[-1], true_sum[-1] > 0)
        return np.nan_to_num(found) if self.hear_rules else found

    def aucs(self, weights: Optional[np.ndarray] = None) -> np.ndarray:
        """(C,) area under the ROC curve; NaN where undefined."""
        _, false, true_sum, false_sum = self._weighted_sums(weights)
        # A negative is ranked correctly below every positive above its run, and counts half against those within it.
        above = np.take_along_axis(true_sum, self.before, axis=0)
        up_to = np.take_along_axis(true_sum, self.last + 1, axis=0)
        pairs = (false * (above + up_to)).sum(axis=0) / 2.0
        return self._defined(pairs, true_sum[-1] * false_sum[-1], (true_sum[-1] > 0) & (false_sum[-1] > 0))

    @staticmethod
    def _defined(value: np.ndarray, total: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.where(known, value / np.where(known, total, 1.0), np.nan)

    def d_primes(self, weights: Optional[np.ndarray] = None) -> np.ndarray:
        """(C,) sqrt(2) * probit(AUC); a perfect AUC counts as half a misordered pair so that d' stays finite."""
        positives = self.positive.sum(axis=0)
        half_pair = 0.5 / np.maximum(positives * (self.num_files - positives), 1.0)
        return np.sqrt(2.0) * ndtri(np.clip(self.aucs(weights), half_pair, 1.0 - half_pair))


def _mean_defined(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else 0.0


#: metric -> its value of every class
BY_CLASS = {"mAP": Ranking.average_precisions, "aucroc": Ranking.aucs, "d_prime": Ranking.d_primes}
RANKED = {
    "mAP": lambda ranking, weights=None: _mean_defined(ranking.average_precisions(weights)),
    "aucroc": lambda ranking, weights=None: _mean_defined(ranking.aucs(weights)),
    "d_prime": lambda ranking, weights=None: _mean_defined(ranking.d_primes(weights)),
}


def mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """mAP: macro mean of the average precision over the classes that have positives.

    Example:
        >>> mean_average_precision(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[1, 0], [0, 1]]))
        1.0
    """
    return RANKED["mAP"](Ranking(scores, targets))


def aucroc(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro mean of the area under the ROC curve."""
    return RANKED["aucroc"](Ranking(scores, targets))


def d_prime(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro mean of sqrt(2) * probit(AUC)."""
    return RANKED["d_prime"](Ranking(scores, targets))


def ranking_notes(scores: np.ndarray, targets: np.ndarray, names: Sequence[str], hear_rules: bool) -> List[str]:
    """Sentences that warn where ranked metrics of these files may be unexpected.

    Args:
        scores: (S, F, C), one model per seed. targets: (F, C) or (F,). names: the C class names. hear_rules: as for
            :class:`Ranking`.
    """
    hot = one_hot(targets, scores.shape[2])
    positives, files = hot.sum(axis=0), len(hot)
    notes = []
    for these, what, mean in (
        (
            positives == 0,
            "without a positive test file",
            "count as 0 in mAP, as in hear-eval-kit, and" if hear_rules else "left out of mAP,",
        ),
        (positives == files, "that every test file has", "have an average precision of 1, and"),
    ):
        if these.any():
            listed = ", ".join(names[c] for c in np.flatnonzero(these)[:5])
            notes.append(
                f"{int(these.sum())} class(es) {what} ({listed}) {mean} are left out of aucroc and d_prime (NaN in "
                "hear-eval-kit)"
            )
    perfect = int(sum(np.isin(Ranking(one, targets).aucs(), (0.0, 1.0)).sum() for one in scores))
    if perfect:
        notes.append(
            f"{perfect} class ranking(s) over {len(scores)} seed(s) are perfect or reversed; d_prime counts half a "
            "misordered pair there (infinite in hear-eval-kit)"
        )
    return notes
