"""Pitch ratio of a view, applied by the frontend's warped mel bank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.transforms.base import Params, Transform


@register("transform", "pitch_shift")
@dataclass(frozen=True)
class PitchShift(Transform):
    """Transpose the view by a random ratio.

    Args:
        max_shift: largest shift; in semitones, or as the p of a ratio 1 + p.
        unit: ``semitone`` draws uniformly in semitones, ``ratio`` draws p ~ U(-max_shift, max_shift) (section 2 of
            the paper, max_shift 0.2).

    Example:
        ``- {name: pitch_shift, max_shift: 12, unit: semitone}``
    """

    max_shift: float = 4.0
    unit: Literal["semitone", "ratio"] = "semitone"
    domain = "pitch"
    scope = "clip"

    def __post_init__(self) -> None:
        check_range("max_shift", self.max_shift, 0.0, 24.0 if self.unit == "semitone" else 0.9, open_low=True)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        drawn = rng.uniform(-self.max_shift, self.max_shift, size)
        semitones = drawn if self.unit == "semitone" else 12.0 * np.log2(1.0 + drawn)
        return {"semitones": semitones.astype(np.float32), "ratio": (2.0 ** (semitones / 12.0)).astype(np.float32)}
