"""Probe a task: fit on train, choose on valid, score on test, with everything a report needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from ssltoolkit.errors import UserError
from ssltoolkit.evaluation import event_metrics, metrics, psds, sed
from ssltoolkit.evaluation.event_metrics import EventTable
from ssltoolkit.evaluation.neighbours import fit_neighbours
from ssltoolkit.evaluation.probe import fit_probes
from ssltoolkit.evaluation.probe_config import GridPoint, ProbeConfig
from ssltoolkit.evaluation.statistics import Evidence, confidence_interval, evidence, mean_score, over_drawn_seeds, percentiles
from ssltoolkit.evaluation.tasks import CLIP_METRICS, SED_METRICS, Piece, TaskData, join


@dataclass
class RoundResult:
    """Test results of one round (one fold).

    Attributes:
        counts: metric -> (S, F, K) per-file statistics; ranking metrics have none.
        probabilities: (S, F, C) class scores of clip and pitch tasks.
        events: one table of predicted events a seed. posteriors: (T, C) of the first seed, SED only.
        probes: one summary a seed.
        psds: scenario -> (S, 1 + R), where asked for; see :func:`ssltoolkit.evaluation.psds.psds`.
        train_files: number of utterances the probe trained on.
        kit_rules: whether ranked metrics are hear-eval-kit's. notes: what a reader should know of the scores.
    """

    piece: Piece
    counts: Dict[str, np.ndarray]
    probes: List[Dict[str, Any]]
    probabilities: Optional[np.ndarray] = None
    events: List[EventTable] = field(default_factory=list)
    posteriors: Optional[np.ndarray] = None
    psds: Dict[str, np.ndarray] = field(default_factory=dict)
    train_files: int = 0
    kit_rules: bool = False
    notes: List[str] = field(default_factory=list)

    def evidence(self, metric: str) -> Evidence:
        """What the statistics need of one metric."""
        return evidence(metric, self.counts.get(metric), self.probabilities, self.piece.targets, self.kit_rules)


@dataclass(frozen=True)
class SedOptions:
    """Post-processing of SED.

    Attributes:
        grid: points tried on valid. class_thresholds: choose each class's threshold on valid instead of 0.5.
        psds: compute the two PSDS scenarios too.
    """

    grid: tuple = field(default_factory=lambda: tuple(sed.postprocessing_grid()))
    class_thresholds: bool = False
    psds: bool = False


def check_metrics(task: TaskData) -> None:
    """Raise :class:`UserError` for a metric this task does not have."""
    allowed = list(SED_METRICS if task.kind == "sed" else CLIP_METRICS)
    if task.kind != "pitch" and task.kind != "sed":
        allowed = [name for name in allowed if name not in ("pitch_acc", "chroma_acc")]
    if task.multilabel and task.kind == "clip":
        allowed = [*metrics.RANKED, "top1_acc"]
    for name in task.metrics:
        if name not in allowed:
            raise UserError(f"--metrics {name}: task {task.name!r} has {', '.join(allowed)}")


def evaluate_rounds(
    task: TaskData,
    config: ProbeConfig,
    seeds: Sequence[int],
    options: SedOptions = SedOptions(),
    fraction: float = 1.0,
) -> List[RoundResult]:
    """Probe every round of a task.

    Args:
        fraction: share of the training utterances used, drawn by class from seed 0.

    A k-fold set chooses its grid point on the first round, as HEAR does.
    """
    check_metrics(task)
    chosen: Optional[Dict[int, GridPoint]] = None
    results = []
    for train_names, valid_names, test_names in task.rounds:
        # hear-eval-kit trains on the rows of each split in one shuffled order, the same in every epoch.
        orders = task.kit_order if config.kit_rules else {}
        train = join([task.pieces[name].subset(orders[name]) if name in orders else task.pieces[name] for name in train_names])
        if fraction < 1.0:
            train = train.subset(stratified(train, fraction, len(task.vocabulary)))
        valid, test = (join([task.pieces[name] for name in names]) for names in (valid_names, test_names))
        runner = _SedRound if task.kind == "sed" else _ClipRound
        result, points = runner(task, config, seeds, options).run(train, valid, test, chosen)
        chosen = chosen or points
        result.train_files = len(train.utt_ids)
        results.append(result)
    return results


def stratified(piece: Piece, fraction: float, num_classes: int) -> np.ndarray:
    """Ascending indices of a share of the utterances, at least one of every class.

    Utterances with several classes count for the one that is rarest.
    """
    hot = metrics.one_hot(piece.targets, num_classes)
    by_file = np.maximum.reduceat(hot, piece.bounds[:-1], axis=0)
    frequency = np.where(by_file > 0, by_file.sum(axis=0), by_file.shape[0] + 1)
    group = np.where(by_file.any(axis=1), frequency.argmin(axis=1), num_classes)
    rng = np.random.default_rng([0, 17])
    kept = []
    for value in np.unique(group):
        members = np.flatnonzero(group == value)
        kept.append(rng.permutation(members)[: max(1, int(round(fraction * len(members))))])
    return np.sort(np.concatenate(kept))


class _Round:
    """What clip and SED rounds share."""

    def __init__(self, task: TaskData, config: ProbeConfig, seeds: Sequence[int], options: SedOptions) -> None:
        self.task, self.config, self.seeds, self.options = task, config, list(seeds), options

    def fit(self, train: Piece, valid: Piece, scorer: Callable, points: Optional[Dict[int, GridPoint]]) -> list:
        """One fitted probe a seed."""
        features, classes = (train.features(), valid.features()), len(self.task.vocabulary)
        if self.config.mode == "knn":
            return fit_neighbours(features[0], train.targets, features[1], scorer, classes, self.seeds)
        return fit_probes(features[0], train.targets, features[1], scorer, classes, self.seeds, self.config, points, valid.targets)

    @staticmethod
    def points(probes: list) -> Optional[Dict[int, GridPoint]]:
        """Chosen grid points, for the other folds."""
        return {p.seed: p.point for p in probes} if hasattr(probes[0], "point") else None


class _ClipRound(_Round):
    """Scene embeddings with one or several labels."""

    def run(self, train: Piece, valid: Piece, test: Piece, points: Optional[Dict[int, GridPoint]]) -> tuple:
        probes = self.fit(train, valid, self._scorer(valid.targets), points)
        features = test.features()
        probabilities = np.stack([probe.predict(features) for probe in probes])
        counts = {}
        for name in self.task.metrics:
            if name not in metrics.RANKED:
                right = [self._right(name, one, test.targets) for one in probabilities]
                counts[name] = np.stack(right)[:, :, None].astype(np.int64)
        summaries = [probe.summary() for probe in probes]
        result = RoundResult(test, counts, summaries, probabilities, kit_rules=self.config.kit_rules)
        if any(name in metrics.RANKED for name in self.task.metrics):
            result.notes = metrics.ranking_notes(probabilities, test.targets, self.task.vocabulary, self.config.kit_rules)
        return result, self.points(probes)

    def _right(self, name: str, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if name == "chroma_acc":
            return metrics.correct_chroma(scores, targets, [int(pitch) for pitch in self.task.vocabulary])
        return metrics.correct_classes(scores, targets)

    def _scorer(self, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        name = self.task.metrics[0]
        if name in metrics.RANKED:
            kit_rules = self.config.kit_rules
            return lambda p: np.array([metrics.RANKED[name](metrics.Ranking(one, targets, kit_rules)) for one in p])
        return lambda p: np.array([self._right(name, one, targets).mean() for one in p])


class _SedRound(_Round):
    """Frame embeddings with sound events."""

    def run(self, train: Piece, valid: Piece, test: Piece, points: Optional[Dict[int, GridPoint]]) -> tuple:
        metric, classes = self.task.metrics[0], len(self.task.vocabulary)
        decoder = sed.Decoder(valid.timeline(), self.options.grid)
        undefined = self.config.mode == "hear"

        def score(p: np.ndarray) -> np.ndarray:
            scores = sed.score_models(p, decoder, valid.events, metric, nan_without_events=undefined)
            chosen = np.nan_to_num(scores).argmax(axis=1)  # undefined counts as 0, but stays undefined if chosen
            return scores[np.arange(len(scores)), chosen]

        probes = self.fit(train, valid, score, points)
        valid_features, test_features = valid.features(), test.features()
        tables, summaries, posteriors = [], [], []
        for probe in probes:
            on_valid = probe.predict(valid_features)
            scores = sed.score_models(on_valid[None], decoder, valid.events, metric)[0]
            point = decoder.grid[int(np.argmax(scores))]
            thresholds = np.full(classes, sed.THRESHOLD)
            if self.options.class_thresholds:
                thresholds = sed.class_thresholds(on_valid, decoder, point, valid.events, metric)
            on_test = probe.predict(test_features)
            posteriors.append(on_test)
            tables.append(sed.Decoder(test.timeline(), [point]).events(on_test > thresholds, point, classes))
            summaries.append({**probe.summary(), **point._asdict(), "thresholds": thresholds.tolist()})
        found = [
            event_metrics.sed_statistics(test.events, table, len(test.utt_ids), self.task.metrics) for table in tables
        ]
        counts = {name: np.stack([one[name] for one in found]) for name in self.task.metrics}
        result = RoundResult(test, counts, summaries, events=tables, posteriors=posteriors[0])
        if not len(test.events.file):
            result.notes = ["a test fold has no event: its F is 0, and its error rate the number of segments with a prediction"]
        if self.options.psds:
            widths = [one["median_filter_ms"] for one in summaries]
            result.psds = psds.psds(posteriors, test.timeline(), test.events, self.task.vocabulary, widths)
        return result, self.points(probes)


def scores_of(task: TaskData, rounds: Sequence[RoundResult]) -> Dict[str, Dict[str, Any]]:
    """Mean, score of each seed, 95 % interval and, for k-fold sets, score of each fold, by metric."""
    scores: Dict[str, Dict[str, Any]] = {}
    for name in task.metrics:
        found = [result.evidence(name) for result in rounds]
        per_seed = mean_score(found)
        scores[name] = {
            "mean": float(per_seed.mean()),
            "per_seed": [float(value) for value in per_seed],
            "ci95": list(confidence_interval(found)),
        }
        if len(rounds) > 1:
            scores[name]["per_fold"] = [float(one.scores().mean()) for one in found]
    for name in rounds[0].psds:
        by_fold = np.stack([result.psds[name] for result in rounds])  # (rounds, S, 1 + R)
        per_seed, resampled = by_fold[:, :, 0].mean(0), by_fold[:, :, 1:].mean(0).T
        interval = percentiles(over_drawn_seeds(resampled, np.random.default_rng([0, 95])), name)
        scores[name] = {"mean": float(per_seed.mean()), "per_seed": per_seed.tolist(), "ci95": list(interval)}
        if len(rounds) > 1:
            scores[name]["per_fold"] = by_fold[:, :, 0].mean(1).tolist()
    return scores
