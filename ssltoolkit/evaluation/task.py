"""Evaluation tasks as components: one class defines labels, targets, loss, metrics and figures of a task.

Built-in tasks are in :mod:`ssltoolkit.tasks`; docs/add_a_task.md shows how to add one in a plugin file.
Symbols: F files, S seeds, C outputs of the probe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ssltoolkit.data.labels import LabelTable, Source
from ssltoolkit.errors import UserError, class_name, kind_of, method_name
from ssltoolkit.evaluation.eval_split import EvalSplit
from ssltoolkit.evaluation.event_metrics import EventTable
from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.probe_loss import ProbeLoss
from ssltoolkit.evaluation.round_result import RoundResult
from ssltoolkit.evaluation.store import EmbeddingStore
from ssltoolkit.registry import REGISTRY

if TYPE_CHECKING:  # reports do not need torch, which this import loads
    from ssltoolkit.evaluation.probe_config import ProbeConfig

#: names of the training, validation and test splits of a round
Round = Tuple[List[str], List[str], List[str]]
#: split -> utterance -> its labels
Labels = Mapping[str, Mapping[str, List[str]]]
#: split -> source of its labels, and its utterances
Sources = Mapping[str, Tuple[Source, List[str]]]


class Classes(NamedTuple):
    """Classes of a task, whether a file may have several or none, and notes about them for the reader."""

    names: List[str]
    multilabel: bool
    notes: List[str]


@dataclass
class TaskData:
    """A task with its labels and embeddings, ready to be probed.

    Attributes:
        task: the task. name: name of the data, for messages. title: of the task in tables. where: path of the labels.
        vocabulary: class names in the order of the probe's outputs; empty if targets are numbers.
        multilabel: whether classes are independent of each other.
        rounds: names of the training, validation and test splits; one round per fold, or a single one.
        metrics: names; the first selects epoch and grid point.
        meta: ``meta.json`` of the embeddings. data_hash: SHA-256 of utterance ids and labels.
        param_grid: probe parameters in the task's metadata, for hear-eval-kit's probe. choose_by: criterion that
            selects the probe, ``score`` or ``loss``.
        kit_order: split -> its utterances (indices) in the order in which hear-eval-kit trains on them.
        notes: sentences about the data that help to interpret the scores.
    """

    task: Task
    name: str
    where: str
    vocabulary: List[str]
    multilabel: bool
    rounds: List[Round]
    data_hash: str
    title: str = ""
    splits: Dict[str, EvalSplit] = field(default_factory=dict)
    metrics: Tuple[str, ...] = ()
    meta: Dict[str, object] = field(default_factory=dict)
    param_grid: Dict[str, list] = field(default_factory=dict)
    choose_by: str = "score"
    kit_order: Dict[str, np.ndarray] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Registered name of the task."""
        return self.task.registered_name


@REGISTRY.base("task")
class Task(ABC):
    """A kind of evaluation task. Subclass :class:`SceneTask` if a file has one embedding.

    Attributes:
        labels: the label file. embedding: ``scene`` (one row per file) or ``frame``.
        metrics: all supported metrics. position: sort key of its tables among those of other tasks.
    """

    registered_name: str
    labels: LabelTable
    embedding = "scene"
    metrics: Tuple[Metric, ...] = ()
    position = 9

    def metric(self, name: str) -> Metric:
        """One of the metrics by name; an unknown name (of another version) becomes a plain metric of that name."""
        return next((one for one in self.metrics if one.name == name), Metric(name, name))

    def allowed_metrics(self, data: TaskData) -> Sequence[str]:
        """Names of the metrics that can be computed on these data."""
        return [metric.name for metric in self.metrics]

    def default_metrics(self, data: TaskData) -> Sequence[str]:
        """Names of the default metrics; the first selects the probe."""
        return self.allowed_metrics(data)

    def check_metrics(self, data: TaskData) -> None:
        """Raise :class:`UserError` for a metric that these data do not support."""
        allowed = self.allowed_metrics(data)
        for name in data.metrics:
            if name not in allowed:
                raise UserError(f"--metrics {name}: task {data.name!r} has {', '.join(allowed)}")

    def classes(
        self, name: str, sources: Sources, labels: Labels, rounds: Sequence[Round], given: Sequence[str]
    ) -> Classes:
        """Find the classes of the labels and check the splits; no classes if labels are numbers.

        Args:
            name: name of the data, for messages. given: classes that the data define, instead of those found.

        Raises:
            UserError: no probe can be trained and tested on these splits.
        """
        return Classes([], False, [])

    @abstractmethod
    def split(
        self,
        source: Source,
        utts: Sequence[str],
        labels: Mapping[str, List[str]],
        store: EmbeddingStore,
        data: TaskData,
    ) -> EvalSplit:
        """Embeddings and targets of one split; ``data`` contains the classes."""

    @abstractmethod
    def loss(self, data: TaskData) -> ProbeLoss:
        """Training loss of the probe."""

    def prepare(self, data: TaskData, config: ProbeConfig) -> Dict[str, Any]:
        """Last check before training the probe, with warnings. Returns entries for the result file.

        Raises:
            UserError: options that do not match the data.
        """
        return {}

    @abstractmethod
    def scorer(self, data: TaskData, valid: EvalSplit, config: ProbeConfig) -> Callable[[np.ndarray], np.ndarray]:
        """Function from predictions (M, rows, C) of the validation rows to (M,) scores; higher is better, NaN if
        undefined.
        """

    @abstractmethod
    def test(
        self, data: TaskData, probes: Sequence[Any], valid: EvalSplit, test: EvalSplit, config: ProbeConfig
    ) -> RoundResult:
        """Evaluate the probes of all seeds on the test files."""

    @abstractmethod
    def arrays(self, rounds: Sequence[RoundResult], seeds: Sequence[int]) -> Dict[str, np.ndarray]:
        """Arrays in the result's npz besides the counts, for figures and comparisons; files of all rounds are
        concatenated.
        """

    def pictures(self, result: Mapping[str, Any], arrays: Dict[str, np.ndarray], folder: Path) -> list:
        """Draw figures (:class:`ssltoolkit.report.style.Picture`) of the best model's result into ``folder``."""
        return []


class SceneTask(Task):
    """A task with one embedding per file, scored by the mean of one value per file.

    A subclass defines the targets of labels (:meth:`targets`), the probe's loss (:meth:`loss`) and each file's
    contribution to a metric (:meth:`measure`).
    """

    @abstractmethod
    def targets(self, labels: Sequence[List[str]], data: TaskData) -> np.ndarray:
        """Targets of files: (F, C) float32 numbers of about unit size, (F,) int64 class indices or (F, C) uint8."""

    @abstractmethod
    def measure(self, metric: str, predictions: np.ndarray, targets: np.ndarray, data: TaskData) -> np.ndarray:
        """(F,) contribution of each file to a metric; the score is their mean.

        Args:
            predictions: (F, C) float32 from :meth:`ProbeLoss.predictions`. targets: from :meth:`targets`.
        """

    def split(
        self,
        source: Source,
        utts: Sequence[str],
        labels: Mapping[str, List[str]],
        store: EmbeddingStore,
        data: TaskData,
    ) -> EvalSplit:
        rows = np.array([store.rows(utt).start for utt in utts], dtype=np.int64)
        targets = np.asarray(self.targets([labels[utt] for utt in utts], data))
        kinds = "iu" if targets.ndim == 1 else "iuf"
        if len(targets) != len(utts) or targets.ndim > 2 or targets.dtype.kind not in kinds:
            raise UserError(
                f"task {data.kind!r}: {method_name(self, 'targets')} returned {targets.dtype} {targets.shape} for "
                f"{len(utts)} files; expected (F, C) numbers or (F,) class indices"
            )
        nothing = EventTable.of((), (), (), ())
        return EvalSplit(list(utts), [(store.matrix, rows)], np.arange(len(utts) + 1), targets, nothing, np.zeros(0))

    def scorer(self, data: TaskData, valid: EvalSplit, config: ProbeConfig) -> Callable[[np.ndarray], np.ndarray]:
        name = data.metrics[0]
        sign = 1 if self.metric(name).higher_is_better else -1
        return lambda p: np.array([sign * self._measured(name, one, valid.targets, data).mean() for one in p])

    def counted_metrics(self, data: TaskData) -> Sequence[str]:
        """Names of the metrics that :meth:`measure` computes per file."""
        return data.metrics

    def test(
        self, data: TaskData, probes: Sequence[Any], valid: EvalSplit, test: EvalSplit, config: ProbeConfig
    ) -> RoundResult:
        features = test.features()
        predictions = np.stack([probe.predict(features) for probe in probes])
        counts = {name: self._counts(name, predictions, test, data) for name in self.counted_metrics(data)}
        summaries = [probe.summary() for probe in probes]
        return RoundResult(test, counts, summaries, predictions, hear_rules=config.hear_rules)

    def _counts(self, name: str, predictions: np.ndarray, test: EvalSplit, data: TaskData) -> np.ndarray:
        """(S, F, 1) contribution of each file to a metric."""
        values = np.stack([self._measured(name, one, test.targets, data) for one in predictions])
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=0))
        if len(wrong):
            raise UserError(
                f"task {data.kind!r}: {name} of {len(wrong)} file(s) is not finite, the first is "
                f"{test.utt_ids[wrong[0]]!r}"
            )
        return values[:, :, None].astype(np.int64 if values.dtype == bool else np.float64)

    def _measured(self, metric: str, predictions: np.ndarray, targets: np.ndarray, data: TaskData) -> np.ndarray:
        """Result of :meth:`measure`, checked."""
        values = self.measure(metric, predictions, targets, data)
        if (
            not isinstance(values, np.ndarray)
            or values.shape != predictions.shape[:1]
            or values.dtype.kind not in "biuf"
        ):
            found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else kind_of(values)
            raise UserError(
                f"task {data.kind!r}: {method_name(self, 'measure')} returned {found} for {metric!r} "
                f"of {len(predictions)} files; return a NumPy array ({len(predictions)},) of numbers"
            )
        return values

    def arrays(self, rounds: Sequence[RoundResult], seeds: Sequence[int]) -> Dict[str, np.ndarray]:
        """``predictions`` (S, F, C) and ``targets``."""
        return {
            "predictions": np.concatenate([result.predictions for result in rounds], axis=1),  # type: ignore[arg-type]
            "targets": np.concatenate([result.split.targets for result in rounds]),
        }


def build_task(name: str, options: Optional[Mapping[str, Any]] = None) -> Task:
    """Build a registered task by name.

    Args:
        options: constructor keywords.

    Raises:
        ConfigError: no such task, or an option that it does not have.

    Example:
        >>> build_task("clip", {"label_kind": "multilabel"}).label_kind
        'multilabel'
    """
    task = REGISTRY.build("task", {"name": name, **(options or {})}, "--task")
    for attribute, value in (("labels", "LabelTable(...)"), ("metrics", "(Metric(...),)")):
        if not getattr(task, attribute, None):
            raise UserError(
                f"task {name!r}: {class_name(type(task))} has no {attribute}; write {attribute} = {value} into it"
            )
    return task


def task_of(result: Mapping[str, Any]) -> Task:
    """The task of a result file.

    Raises:
        UserError: the task belongs to a plugin that is not loaded.
    """
    if result["task"] not in REGISTRY.available("task"):
        raise UserError(
            f"{result['path']}: no task {result['task']!r} is registered; load the plugin that defines it with "
            "--plugins FILE, or with --config and a configuration that names it"
        )
    return build_task(result["task"], result.get("task_options"))
