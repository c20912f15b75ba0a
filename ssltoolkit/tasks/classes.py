"""Base class of classification tasks: vocabulary, consistency of the splits' labels, ranked metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Sequence

import numpy as np

from ssltoolkit.errors import DataError
from ssltoolkit.evaluation import metrics
from ssltoolkit.evaluation.eval_split import EvalSplit, where_is
from ssltoolkit.evaluation.probe_loss import BinaryCrossEntropy, CrossEntropy, ProbeLoss
from ssltoolkit.evaluation.round_result import RoundResult
from ssltoolkit.evaluation.task import Classes, Labels, Round, SceneTask, Sources, TaskData

if TYPE_CHECKING:
    from ssltoolkit.evaluation.probe_config import ProbeConfig


def names_of(labels: Labels) -> List[str]:
    """All labels, sorted."""
    return sorted({label for found in labels.values() for given in found.values() for label in given})


def single_label(labels: Labels) -> bool:
    """Whether every utterance has exactly one label."""
    return all(len(set(given)) == 1 for found in labels.values() for given in found.values())


def check_test_labels(file: str, sources: Sources, labels: Labels, rounds: Sequence[Round], given: bool) -> List[str]:
    """Reject test labels that occur in neither train nor valid, unless a given vocabulary contains them.

    Args:
        file: label file, for messages. given: whether the data come with a vocabulary.

    Returns:
        Notes about such labels of a given vocabulary, and about classes of a k-fold set that are in one fold only.
    """
    if len(rounds) > 1:
        return _in_one_fold(labels)
    notes: List[str] = []
    train, valid, test = rounds[0]
    known = {label for split in (*train, *valid) for found in labels[split].values() for label in found}
    for split in test:
        unknown = {label: utt for utt, found in labels[split].items() for label in found if label not in known}
        if unknown:
            utt = unknown[min(unknown)]
            if given:
                notes.append(
                    f"{len(unknown)} class(es) of test are in neither train nor valid, no probe can learn them: "
                    f"{', '.join(sorted(unknown)[:5])}"
                )
                continue
            raise DataError(
                f"{where_is(sources[split][0], file, utt)}: label(s) in neither train nor valid: "
                f"{', '.join(sorted(unknown))}; correct the label or move such files to train"
            )
    return notes


def _in_one_fold(labels: Labels) -> List[str]:
    """A note if some classes of a k-fold set are in one fold only."""
    folds: Dict[str, int] = {}
    for found in labels.values():
        for label in {label for given in found.values() for label in given}:
            folds[label] = folds.get(label, 0) + 1
    alone = sorted(label for label, count in folds.items() if count == 1)
    if not alone:
        return []
    return [f"{len(alone)} class(es) are in one fold only, no probe can learn them: {', '.join(alone[:5])}"]


class ClassTask(SceneTask):
    """Classification of scene embeddings with one or several labels per file.

    A subclass defines the label file and the metrics. The task is multilabel if any file has several labels.
    """

    def classes(
        self, name: str, sources: Sources, labels: Labels, rounds: Sequence[Round], given: Sequence[str]
    ) -> Classes:
        notes = check_test_labels(self.labels.file, sources, labels, rounds, bool(given))
        return Classes(list(given) or names_of(labels), not single_label(labels), notes)

    def loss(self, data: TaskData) -> ProbeLoss:
        return BinaryCrossEntropy() if data.multilabel else CrossEntropy()

    def targets(self, labels: Sequence[List[str]], data: TaskData) -> np.ndarray:
        index = {label: i for i, label in enumerate(data.vocabulary)}
        if not data.multilabel:
            return np.array([index[given[0]] for given in labels], dtype=np.int64)
        targets = np.zeros((len(labels), len(data.vocabulary)), dtype=np.uint8)
        for row, given in zip(targets, labels):
            row[[index[label] for label in given]] = 1
        return targets

    def measure(self, metric: str, predictions: np.ndarray, targets: np.ndarray, data: TaskData) -> np.ndarray:
        """Whether the class with the highest score is the target, (F,) bool."""
        return metrics.correct_classes(predictions, targets)

    def scorer(self, data: TaskData, valid: EvalSplit, config: ProbeConfig) -> Callable[[np.ndarray], np.ndarray]:
        name, hear_rules = data.metrics[0], config.hear_rules
        if name not in metrics.RANKED:
            return super().scorer(data, valid, config)
        return lambda p: np.array([metrics.RANKED[name](metrics.Ranking(one, valid.targets, hear_rules)) for one in p])

    def counted_metrics(self, data: TaskData) -> Sequence[str]:
        """All metrics except ranked ones, which need all files at once."""
        return [name for name in data.metrics if name not in metrics.RANKED]

    def test(
        self, data: TaskData, probes: Sequence[Any], valid: EvalSplit, test: EvalSplit, config: ProbeConfig
    ) -> RoundResult:
        result = super().test(data, probes, valid, test, config)
        if any(name in metrics.RANKED for name in data.metrics):
            result.notes = metrics.ranking_notes(result.predictions, test.targets, data.vocabulary, config.hear_rules)
        return result

    def arrays(self, rounds: Sequence[RoundResult], seeds: Sequence[int]) -> Dict[str, np.ndarray]:
        """``probabilities`` (S, F, C), ``targets`` and ``hear_rules`` (see
        :class:`ssltoolkit.evaluation.metrics.Ranking`).
        """
        found = super().arrays(rounds, seeds)
        return {
            "probabilities": found["predictions"],
            "targets": found["targets"],
            "hear_rules": np.array(rounds[0].hear_rules),
        }

    def pictures(self, result: Mapping[str, Any], arrays: Dict[str, np.ndarray], folder: Path) -> list:
        """Confusion matrix, for single-label tasks, and a map of the embeddings."""
        if arrays["targets"].ndim != 1:
            return []
        return self.confusion(result, arrays, folder) + self.map(result, arrays, folder)

    def confusion(self, result: Mapping[str, Any], arrays: Dict[str, np.ndarray], folder: Path) -> list:
        """Confusion matrix of the classes."""
        from ssltoolkit.report.plots_confusion import clip_confusion

        return clip_confusion(result, arrays, folder)

    def map(self, result: Mapping[str, Any], arrays: Dict[str, np.ndarray], folder: Path) -> list:
        """Two-dimensional map of the test files' embeddings."""
        from ssltoolkit.report.plots_embeddings import scene_map

        return scene_map(result, arrays, folder)
