"""Samplers for regressing a known difference between two views: tempo, level, time within the clip."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DifferenceTargets, Sampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.level import Gain
from ssltoolkit.transforms.stretch import TimeStretch
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


def _difference(views: Mapping[str, RenderedView], transform: str, name: str, unit: float) -> DifferenceTargets:
    first, second = (np.asarray(views[role].param(transform, name)) for role in ("first", "second"))
    return DifferenceTargets("first", "second", torch.from_numpy((second - first) / np.float32(unit)))


@register("sampler", "time_stretch")
class TempoSampler(Sampler):
    """Predict how much faster the second view is. The segment is stretched twice; the target is the tempo difference
    in octaves.

    Args:
        max_octaves: largest stretch of either view.
        both: further transforms of both views, drawn independently.

    Example:
        ``sampler: {name: time_stretch, max_octaves: 0.5}``
    """

    level = "clip"
    returns = DifferenceTargets

    def __init__(self, max_octaves: float = 0.5, both: Sequence[Transform] = ()) -> None:
        stretch = TimeStretch(max_octaves)
        super().__init__(
            first=View(Cut("anchor"), (*both, stretch), draw=2), second=View(Cut("anchor"), (*both, stretch), draw=3)
        )

    def compare(
        self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator
    ) -> DifferenceTargets:
        return _difference(views, "time_stretch", "octaves", 1.0)


@register("sampler", "gain_difference")
class GainDifferenceSampler(Sampler):
    """Predict how much louder the second view is. The target is the difference of two random gains, in units of 6 dB.

    Args:
        max_db: largest gain of either view, dB.
        both: further transforms of both views, drawn independently; a gain among them would make the target wrong.

    Example:
        ``sampler: {name: gain_difference, max_db: 12}``
    """

    level = "frame"
    returns = DifferenceTargets

    def __init__(self, max_db: float = 12.0, both: Sequence[Transform] = ()) -> None:
        check_range("max_db", max_db, 0.0, 60.0, open_low=True)
        gain = Gain(-max_db, max_db)
        super().__init__(
            first=View(Cut("anchor"), (*both, gain), draw=2), second=View(Cut("anchor"), (*both, gain), draw=3)
        )

    def compare(
        self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator
    ) -> DifferenceTargets:
        return _difference(views, "gain", "db", 6.0)


@register("sampler", "time_lag")
class TimeLagSampler(Sampler):
    """Predict the time lag between two segments of a clip. The target is the lag in seconds.

    With the loss ``difference_sign`` only the order is predicted.

    Args:
        both: transforms of both segments.

    Example:
        ``sampler: {name: time_lag}``
    """

    level = "clip"
    returns = DifferenceTargets

    def __init__(self, both: Sequence[Transform] = ()) -> None:
        super().__init__(first=View(Cut("anchor"), both), second=View(Cut("positive"), both, draw=1))

    def compare(
        self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator
    ) -> DifferenceTargets:
        lag = views["second"].start - views["first"].start
        return DifferenceTargets("first", "second", torch.from_numpy(lag.astype(np.float32)))
