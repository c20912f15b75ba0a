"""Clip classification: ``utt2label``, one or several classes per file."""

from __future__ import annotations

from typing import List, Literal, Mapping, Sequence

from ssltoolkit.data.labels import LabelTable, Row, Source
from ssltoolkit.data.tables import check_labels
from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.metrics import AUCROC, D_PRIME, MEAN_AP, TOP1_ACC
from ssltoolkit.evaluation.task import Classes, Labels, Round, Sources, TaskData
from ssltoolkit.registry import register
from ssltoolkit.tasks.classes import ClassTask


class ClipLabels(LabelTable):
    """``utt2label``: labels separated by commas."""

    classes = True
    if_twice = "separate several labels of one clip by commas"

    def __init__(self) -> None:
        super().__init__("utt2label", "label", check_labels)

    def read(self, source: Source) -> Mapping[str, List[str]]:
        """Utterance id -> its labels."""
        return source.labels()

    def names(self, row: Row) -> List[str]:
        """The labels of a row."""
        return row["label"].split(",")


@register("task", "clip")
class Clip(ClassTask):
    """Clip classification: one class per clip (``top1_acc``), or any number (``mAP``, ``aucroc``, ``d_prime``).

    Args:
        label_kind: ``multiclass``, ``multilabel``, or ``auto``: multilabel unless every utterance has just one label.
    """

    labels = ClipLabels()
    metrics = (TOP1_ACC, MEAN_AP, AUCROC, D_PRIME)
    position = 0

    def __init__(self, label_kind: Literal["auto", "multiclass", "multilabel"] = "auto") -> None:
        self.label_kind = label_kind

    def classes(
        self, name: str, sources: Sources, labels: Labels, rounds: Sequence[Round], given: Sequence[str]
    ) -> Classes:
        found = super().classes(name, sources, labels, rounds, given)
        if self.label_kind == "multiclass" and found.multilabel:
            raise UserError(f"{name}: --label_kind multiclass, but some utterances do not have exactly one label")
        return found._replace(multilabel=found.multilabel or self.label_kind == "multilabel")

    def allowed_metrics(self, data: TaskData) -> Sequence[str]:
        names = [metric.name for metric in self.metrics]
        return [*names[1:], names[0]] if data.multilabel else names

    def default_metrics(self, data: TaskData) -> Sequence[str]:
        return [metric.name for metric in ((MEAN_AP, AUCROC, D_PRIME) if data.multilabel else (TOP1_ACC,))]
