"""Definition of a metric: name, table heading, range of values, and how a score follows from per-file counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Union

import numpy as np

from ssltoolkit.errors import check_choice


def mean_of_files(sums: np.ndarray, weight: Union[float, np.ndarray]) -> np.ndarray:
    """Mean of one value per file: the sum (..., 1) divided by the number of files."""
    return sums[..., 0] / weight


@dataclass(frozen=True)
class Metric:
    """One metric of a task.

    Attributes:
        name: name in ``--metrics`` and result files.
        heading: column heading in tables, with the unit and, if lower is better, a down arrow.
        values: ``share`` (0 to 1, printed in per cent), ``positive`` (0 and above) or ``real``; intervals stay in this
            range.
        higher_is_better: whether higher scores are better, also for selecting the probe.
        reduce: function from counts (..., K) summed over files and the number of files to the score (...); by default
            the mean of one value per file.

    Example::

        Metric("tempo_error", "tempo error (BPM) ↓", "positive", higher_is_better=False)
    """

    name: str
    heading: str
    values: str = "share"
    higher_is_better: bool = True
    reduce: Callable[[np.ndarray, Union[float, np.ndarray]], np.ndarray] = mean_of_files

    def __post_init__(self) -> None:
        check_choice("values", self.values, ("share", "positive", "real"))

    @property
    def factor(self) -> float:
        """Factor from a score to the printed number: shares are printed in per cent."""
        return 100.0 if self.values == "share" else 1.0

    def printed(self, value: float) -> str:
        """Format a score or a difference for tables: per cent with one decimal, other numbers with three."""
        return f"{100 * value:.1f}" if self.values == "share" else f"{value:.3f}"
