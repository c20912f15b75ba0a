"""What a score is: its name, its heading in tables, the values it can have, and how it follows from counts of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Union

import numpy as np

from ssltoolkit.errors import check_choice


def mean_of_files(sums: np.ndarray, weight: Union[float, np.ndarray]) -> np.ndarray:
    """Mean of one value a file: their sum (..., 1) over the number of files."""
    return sums[..., 0] / weight


@dataclass(frozen=True)
class Metric:
    """One metric of a task.

    Attributes:
        name: as ``--metrics`` and result files have it.
        heading: of its column in tables, with the unit and, where lower is better, an arrow down.
        values: ``share`` (0 to 1, printed in per cent), ``positive`` (0 and above) or ``real``; intervals keep to them.
        higher_is_better: whether the greatest is the best; it chooses the probe, too.
        reduce: score (...) of counts (..., K) summed over files, and the number of files; by default the mean of one
            value a file.

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
        """From a score to the number that is printed: shares are printed in per cent."""
        return 100.0 if self.values == "share" else 1.0

    def printed(self, value: float) -> str:
        """A score, or a difference of two, as tables print it: per cent with one decimal, other numbers with three."""
        return f"{100 * value:.1f}" if self.values == "share" else f"{value:.3f}"
