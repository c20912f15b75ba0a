"""Test results of one round, or fold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import numpy as np

from ssltoolkit.evaluation.eval_split import EvalSplit
from ssltoolkit.evaluation.event_metrics import EventTable
from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.statistics import Evidence, evidence


@dataclass
class RoundResult:
    """Test results of one round (one fold).

    Attributes:
        counts: metric name -> (S, F, K) per-file statistics; ranking metrics have none.
        probes: one summary per seed.
        predictions: (S, F, C) class scores, or numbers, of scene tasks.
        events: one table of predicted events per seed. posteriors: (T, C) of the first seed, SED only.
        resampled: for metrics without counts (PSDS): metric name -> (S, 1 + R) score of the files, then of bootstrap
            samples.
        train_files: number of utterances that the probe trained on.
        hear_rules: whether ranked metrics follow hear-eval-kit. notes: sentences that help to interpret the scores.
    """

    split: EvalSplit
    counts: Dict[str, np.ndarray]
    probes: List[Dict[str, Any]]
    predictions: Optional[np.ndarray] = None
    events: List[EventTable] = field(default_factory=list)
    posteriors: Optional[np.ndarray] = None
    resampled: Dict[str, np.ndarray] = field(default_factory=dict)
    train_files: int = 0
    hear_rules: bool = False
    notes: List[str] = field(default_factory=list)

    def evidence(self, metric: Metric) -> Evidence:
        """Inputs of the statistics for one metric."""
        return evidence(metric, self.counts.get(metric.name), self.predictions, self.split.targets, self.hear_rules)
