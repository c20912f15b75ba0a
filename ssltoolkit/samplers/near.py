"""Near-in-time sampling: the closer two frames are in time, the larger their weight as positives."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DensePairs, Sampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


@register("sampler", "frame_near")
class NearFrameSampler(Sampler):
    """Frames of two nearby segments of a clip are positives of each other, weighted by exp(-distance / scale_ms).

    Args:
        scale_ms: time over which the weight falls to 1/e, milliseconds.
        max_offset: largest distance between the two segments' starts, seconds.
        anchor: transforms of the first segment.
        positive: transforms of the second.

    Example:
        ``sampler: {name: frame_near, scale_ms: 80}``
    """

    level = "frame"

    def __init__(
        self,
        scale_ms: float = 80.0,
        max_offset: float = 0.4,
        anchor: Sequence[Transform] = (),
        positive: Sequence[Transform] = (),
    ) -> None:
        check_range("scale_ms", scale_ms, 0.0, open_low=True)
        self.scale_ms = scale_ms
        super().__init__(
            anchor=View(Cut("anchor"), anchor), positive=View(Cut("positive", "anchor", max_offset), positive, draw=1)
        )
        self.refuse_moved_frames()

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> DensePairs:
        distance = grid.distances_ms(views["anchor"], views["positive"])
        weight = np.exp(-distance / self.scale_ms)
        # Beyond five scales a frame is an ordinary negative.
        return DensePairs(
            "anchor", "positive", torch.from_numpy(weight * (distance < 5 * self.scale_ms)).float(), "clip"
        )
