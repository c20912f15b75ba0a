"""Frame-level sampling with a drawn set of negatives: some from the same clip, some from other clips."""

from __future__ import annotations

from typing import Mapping, Optional, Sequence

import numpy as np
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError, check_range
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import IndexPairs, Sampler
from ssltoolkit.samplers.pairs import sample_pairs
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


@register("sampler", "frame_sampled")
class SampledFrameSampler(Sampler):
    """Compare frames of two views of a clip; the positive is at the same absolute time, negatives are drawn at random.

    Cost grows with the number of negatives, not with the square of the number of frames in the batch.

    Args:
        anchor: transforms of the first view.
        positive: transforms of the second view, drawn independently.
        max_offset: largest distance between the two segments' starts, seconds.
        same: number of negatives from the same clip.
        other: number of negatives from other clips.
        min_gap_ms: smallest distance of a same-clip negative from the anchor.
        max_gap_ms: largest such distance (for hard negatives); None for no limit.
        balanced: spread the negatives of the same clip evenly over time.

    Example:
        ``sampler: {name: frame_sampled, same: 8, other: 8, min_gap_ms: 80}``
    """

    level = "frame"
    returns = IndexPairs

    def __init__(
        self,
        anchor: Sequence[Transform] = (),
        positive: Sequence[Transform] = (),
        max_offset: float = 0.0,
        same: int = 8,
        other: int = 8,
        min_gap_ms: float = 80.0,
        max_gap_ms: Optional[float] = None,
        balanced: bool = False,
    ) -> None:
        check_range("same", same, 0)
        check_range("other", other, 0)
        if same + other == 0:
            raise ParameterError("same", "and other are both 0; there must be negatives")
        check_range("min_gap_ms", min_gap_ms, 0.0)
        if max_gap_ms is not None:
            check_range("max_gap_ms", max_gap_ms, min_gap_ms)
        self.same, self.other, self.min_gap_ms, self.balanced = same, other, min_gap_ms, balanced
        self.max_gap_ms = float("inf") if max_gap_ms is None else max_gap_ms
        cut = Cut("positive", "anchor", max_offset) if max_offset else Cut("anchor")
        super().__init__(anchor=View(Cut("anchor"), anchor), positive=View(cut, positive, draw=1))
        self.refuse_moved_frames()

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> IndexPairs:
        start_ms = 1000.0 * np.stack([views["anchor"].start, views["positive"].start], axis=1)
        # Leave out the repetitions of a short clip: a frame's copy would be drawn as its negative.
        lengths = np.stack([grid.distinct_frames(views[role]) for role in ("anchor", "positive")], axis=1)
        pairs = sample_pairs(
            start_ms,
            lengths,
            grid.frames,
            grid.hop_ms,
            int(rng.integers(2**63)),
            same=self.same,
            other=self.other,
            min_gap_ms=self.min_gap_ms,
            max_gap_ms=self.max_gap_ms,
            balanced=self.balanced,
        )
        anchor, positive = torch.from_numpy(pairs.anchor).long(), torch.from_numpy(pairs.positive).long()
        negatives = torch.from_numpy(np.concatenate([pairs.same, pairs.other], axis=1)).long()
        return IndexPairs("anchor", "positive", anchor, positive, negatives)
