"""What the test files of one round, or fold, gave."""

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
        probes: one summary a seed.
        predictions: (S, F, C) class scores, or numbers, of scene tasks.
        events: one table of predicted events a seed. posteriors: (T, C) of the first seed, SED only.
        resampled: metric name -> (S, 1 + R) score of the files, and of bootstrap samples, of metrics without counts
            (PSDS).
        train_files: number of utterances the probe trained on.
        hear_rules: whether ranked metrics are hear-eval-kit's. notes: what a reader should know of the scores.
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
        """What the statistics need of one metric."""
        return evidence(metric, self.counts.get(metric.name), self.predictions, self.split.targets, self.hear_rules)
