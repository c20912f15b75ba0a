"""Clip-level sampling: two segments of one clip are a positive pair (COLA)."""

from __future__ import annotations

from typing import Mapping, Optional, Sequence

import numpy as np
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import BlockPairs, DensePairs, Sampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


@register("sampler", "clip")
class ClipSampler(Sampler):
    """Anchor and positive are two random segments of the same clip; the other clips' positives are the negatives.

    Section 2.1 of the paper (COLA, Saeed et al. 2021): no transform of the anchor, white noise on the positive.

    Args:
        anchor: transforms of the anchor.
        positive: transforms of the positive.
        max_offset: largest distance between the two segments' starts, seconds; None for anywhere in the clip.

    Example:
        ``sampler: {name: clip, max_offset: 0.4, positive: [{name: white_noise, std: 0.001}]}``
    """

    level = "clip"

    def __init__(
        self, anchor: Sequence[Transform] = (), positive: Sequence[Transform] = (), max_offset: Optional[float] = None
    ) -> None:
        if max_offset is not None and max_offset < 0:
            raise ParameterError("max_offset", f"must be at least 0 s, got {max_offset!r}")
        cut = Cut("positive") if max_offset is None else Cut("positive", "anchor", max_offset)
        super().__init__(anchor=View(Cut("anchor"), anchor), positive=View(cut, positive, draw=1))

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> DensePairs:
        own = torch.ones(grid.size, 1)
        return BlockPairs("anchor", "positive", own, own.bool(), torch.arange(grid.size), grid.size)
