"""Pitch: ``utt2pitch``, one MIDI note number per file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ssltoolkit.data.labels import LabelTable, Row, Source
from ssltoolkit.data.tables import check_pitch
from ssltoolkit.evaluation.metrics import (
    CHROMA_ACC,
    PITCH_ACC,
    RANKING_METRICS,
    TOP1_ACC,
    correct_chroma,
    correct_classes,
)
from ssltoolkit.evaluation.task import Classes, Labels, Round, Sources, TaskData
from ssltoolkit.registry import register
from ssltoolkit.tasks.classes import ClassTask, check_test_labels, names_of


class PitchLabels(LabelTable):
    """``utt2pitch``: MIDI note numbers, which the probe treats as classes."""

    classes = True

    def __init__(self) -> None:
        super().__init__("utt2pitch", "midi", check_pitch)

    def read(self, source: Source) -> Mapping[str, List[str]]:
        """Utterance id -> its only label, the number."""
        return {utt: [str(pitch)] for utt, pitch in source.pitches().items()}

    def names(self, row: Row) -> List[str]:
        """The number of a row, without leading zeros."""
        return [str(int(row["midi"]))]


@register("task", "pitch")
class Pitch(ClassTask):
    """MIDI note number of whole clips: exact (``pitch_acc``) or up to octaves (``chroma_acc``)."""

    labels = PitchLabels()
    metrics = (TOP1_ACC, PITCH_ACC, CHROMA_ACC, *RANKING_METRICS)
    position = 2

    def classes(
        self, name: str, sources: Sources, labels: Labels, rounds: Sequence[Round], given: Sequence[str]
    ) -> Classes:
        notes = check_test_labels(self.labels.file, sources, labels, rounds, bool(given))
        return Classes(list(given) or sorted(names_of(labels), key=int), False, notes)

    def default_metrics(self, data: TaskData) -> Sequence[str]:
        return [PITCH_ACC.name, CHROMA_ACC.name]

    def measure(self, metric: str, predictions: np.ndarray, targets: np.ndarray, data: TaskData) -> np.ndarray:
        if metric == CHROMA_ACC.name:
            return correct_chroma(predictions, targets, [int(pitch) for pitch in data.vocabulary])
        return correct_classes(predictions, targets)

    def confusion(self, result: Mapping[str, Any], arrays: Dict[str, np.ndarray], folder: Path) -> list:
        from ssltoolkit.report.plots_confusion import pitch_confusion

        return pitch_confusion(result, arrays, folder)

    def map(self, result: Mapping[str, Any], arrays: Dict[str, np.ndarray], folder: Path) -> list:
        from ssltoolkit.report.plots_embeddings import pitch_map

        return pitch_map(result, arrays, folder)
