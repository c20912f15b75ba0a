"""Probe a task: fit on train, select on valid, score on test; returns everything that a report needs."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from ssltoolkit.errors import UserError, method_name, plugin_errors
from ssltoolkit.evaluation import metrics
from ssltoolkit.evaluation.eval_split import EvalSplit, join
from ssltoolkit.evaluation.neighbours import fit_neighbours
from ssltoolkit.evaluation.probe import fit_probes
from ssltoolkit.evaluation.probe_config import GridPoint, ProbeConfig
from ssltoolkit.evaluation.probe_loss import loss_fault
from ssltoolkit.evaluation.round_result import RoundResult
from ssltoolkit.evaluation.statistics import confidence_interval, mean_score, over_drawn_seeds, percentiles
from ssltoolkit.evaluation.task import TaskData


def evaluate_rounds(
    data: TaskData, config: ProbeConfig, seeds: Sequence[int], fraction: float = 1.0
) -> List[RoundResult]:
    """Probe every round of a task.

    Args:
        fraction: share of the training utterances to use, drawn by class with seed 0.

    A k-fold set selects its grid point on the first round, as HEAR does.

    Raises:
        UserError: the task returns something unusable, or code of a plugin failed.
    """
    with plugin_errors(f"task {data.kind!r}"):
        return _evaluated(data, config, seeds, fraction)


def _evaluated(data: TaskData, config: ProbeConfig, seeds: Sequence[int], fraction: float) -> List[RoundResult]:
    data.task.check_metrics(data)
    chosen: Optional[Dict[int, GridPoint]] = None
    results = []
    for train_names, valid_names, test_names in data.rounds:
        train = _training_rows(data, train_names, config, fraction)
        valid, test = (join([data.splits[name] for name in names]) for names in (valid_names, test_names))
        probes = fit(data, train, valid, config, seeds, chosen)
        result = data.task.test(data, probes, valid, test, config)
        result.train_files = len(train.utt_ids)
        results.append(result)
        if chosen is None and hasattr(probes[0], "point"):
            chosen = {probe.seed: probe.point for probe in probes}
    return results


def _training_rows(data: TaskData, names: Sequence[str], config: ProbeConfig, fraction: float) -> EvalSplit:
    """The splits that the probe trains on, concatenated."""
    # hear-eval-kit trains on the rows of each split in one shuffled order, the same in every epoch.
    orders = data.kit_order if config.hear_rules else {}
    train = join([data.splits[name].subset(orders[name]) if name in orders else data.splits[name] for name in names])
    return train if fraction == 1.0 else train.subset(stratified(train, fraction, len(data.vocabulary)))


def fit(
    data: TaskData,
    train: EvalSplit,
    valid: EvalSplit,
    config: ProbeConfig,
    seeds: Sequence[int],
    points: Optional[Dict[int, GridPoint]] = None,
) -> list:
    """Fit one probe per seed; ``points`` are the grid points selected before, if any."""
    rows, held_out, scorer = train.features(), valid.features(), data.task.scorer(data, valid, config)
    if train.targets.ndim == 1 and not data.vocabulary:
        raise UserError(
            f"task {data.kind!r}: {method_name(data.task, 'targets')} returned class indices, but the task has no "
            "classes; derive it from ClassTask, or return numbers (F, C)"
        )
    outputs = len(data.vocabulary) or train.targets.shape[1]
    if config.mode == "knn":
        return fit_neighbours(rows, train.targets, held_out, scorer, outputs, seeds)
    loss = data.task.loss(data)
    fault = loss_fault(loss, train.targets, outputs)
    if fault:
        raise UserError(f"task {data.kind!r}: {method_name(data.task, 'loss')} {fault}")
    return fit_probes(rows, train.targets, held_out, scorer, outputs, seeds, config, points, valid.targets, loss)


def stratified(split: EvalSplit, fraction: float, num_classes: int) -> np.ndarray:
    """Ascending indices of a share of the utterances, at least one of every class.

    An utterance with several classes counts for the rarest of them. Without classes (0) all utterances are equally
    likely.
    """
    rng = np.random.default_rng([0, 17])
    group = _rarest_class(split, num_classes) if num_classes else np.zeros(len(split.utt_ids))
    kept = []
    for value in np.unique(group):
        members = np.flatnonzero(group == value)
        kept.append(rng.permutation(members)[: max(1, int(round(fraction * len(members))))])
    return np.sort(np.concatenate(kept))


def _rarest_class(split: EvalSplit, num_classes: int) -> np.ndarray:
    """(F,) rarest class of each utterance; ``num_classes`` if it has none."""
    hot = metrics.one_hot(split.targets, num_classes)
    by_file = np.maximum.reduceat(hot, split.bounds[:-1], axis=0)
    frequency = np.where(by_file > 0, by_file.sum(axis=0), by_file.shape[0] + 1)
    return np.where(by_file.any(axis=1), frequency.argmin(axis=1), num_classes)


def scores_of(data: TaskData, rounds: Sequence[RoundResult]) -> Dict[str, Dict[str, Any]]:
    """Metric -> mean, score of each seed, 95 % interval and, for k-fold sets, score of each fold."""
    scores: Dict[str, Dict[str, Any]] = {}
    for name in data.metrics:
        found = [result.evidence(data.task.metric(name)) for result in rounds]
        per_seed = mean_score(found)
        scores[name] = {
            "mean": float(per_seed.mean()),
            "per_seed": [float(value) for value in per_seed],
            "ci95": list(confidence_interval(found)),
        }
        if len(rounds) > 1:
            scores[name]["per_fold"] = [float(one.scores().mean()) for one in found]
    for name in rounds[0].resampled:
        by_fold = np.stack([result.resampled[name] for result in rounds])  # (rounds, S, 1 + R)
        per_seed, resampled = by_fold[:, :, 0].mean(0), by_fold[:, :, 1:].mean(0).T
        interval = percentiles(over_drawn_seeds(resampled, np.random.default_rng([0, 95])), data.task.metric(name))
        scores[name] = {"mean": float(per_seed.mean()), "per_seed": per_seed.tolist(), "ci95": list(interval)}
        if len(rounds) > 1:
            scores[name]["per_fold"] = by_fold[:, :, 0].mean(1).tolist()
    return scores
