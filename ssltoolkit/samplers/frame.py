"""Frame-level sampling: frames of two views at the same time are positives, other frames of the clip are negatives."""

from __future__ import annotations

from typing import Mapping, Optional, Sequence

import numpy as np
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError, check_choice, check_range
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import BlockPairs, DensePairs, Sampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


@register("sampler", "frame_band")
class FrameBandSampler(Sampler):
    """Compare the frames of one view with each other; frames within ``neighbours`` are positives (paper, section 2.2).

    With ``neighbours`` 0 the target is the diagonal: each frame is its own positive, which is almost trivial to learn.
    :class:`AlignedFrameSampler` gives a harder task.

    Args:
        neighbours: t, number of frames on either side that are positives too.
        anchor: transforms of the view.

    Example:
        ``sampler: {name: frame_band, neighbours: 1}``
    """

    level = "frame"

    def __init__(self, neighbours: int = 0, anchor: Sequence[Transform] = ()) -> None:
        check_range("neighbours", neighbours, 0)
        self.neighbours = neighbours
        super().__init__(anchor=View(Cut("anchor"), anchor))

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> DensePairs:
        distance = grid.distances_ms(views["anchor"], views["anchor"])
        # Half a hop of tolerance: the frames of a repeated short clip do not coincide exactly.
        band = torch.from_numpy(distance <= (self.neighbours + 0.5) * grid.hop_ms)
        same = views["anchor"].period is None or not np.isfinite(views["anchor"].period).any()  # for every clip
        return DensePairs("anchor", "anchor", (band[:1] if same else band).float(), within="clip")


@register("sampler", "frame_aligned")
class AlignedFrameSampler(Sampler):
    """Compare frames of two differently transformed views of a clip; frames at the same absolute time are positives.

    Args:
        anchor: transforms of the first view.
        positive: transforms of the second view, drawn independently.
        max_offset: largest distance between the two segments' starts, seconds; 0 cuts the same segment twice.
        tolerance_ms: frames whose centres are at most this far apart are positives too, besides the nearest frame.
        gap_ms: frames closer than this to the anchor that are not positives are no negatives either.
        negatives: ``clip``: the other frames of the same clip; ``batch``: also all frames of the other clips.
        anchors: with ``batch``, how many frames of each clip are drawn as anchors; None takes all, and cost then grows
            with (frames x clips) squared.

    Example:
        ``sampler: {name: frame_aligned, negatives: batch, anchors: 8, max_offset: 0.4, gap_ms: 80}``
    """

    level = "frame"

    def __init__(
        self,
        anchor: Sequence[Transform] = (),
        positive: Sequence[Transform] = (),
        max_offset: float = 0.0,
        tolerance_ms: float = 0.0,
        gap_ms: float = 0.0,
        negatives: str = "clip",
        anchors: Optional[int] = None,
    ) -> None:
        check_range("tolerance_ms", tolerance_ms, 0.0)
        check_range("gap_ms", gap_ms, 0.0)
        check_choice("negatives", negatives, ("clip", "batch"))
        if anchors is not None:
            check_range("anchors", anchors, 1)
            if negatives != "batch":
                raise ParameterError("anchors", "needs negatives: batch; within a clip all frames are anchors")
        self.tolerance_ms, self.gap_ms, self.negatives, self.anchors = tolerance_ms, gap_ms, negatives, anchors
        cut = Cut("positive", "anchor", max_offset) if max_offset else Cut("anchor")
        super().__init__(anchor=View(Cut("anchor"), anchor), positive=View(cut, positive, draw=1))
        self.refuse_moved_frames()

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> DensePairs:
        distance = grid.distances_ms(views["anchor"], views["positive"])
        # Half a hop finds the nearest frame; an anchor without a frame of the other view in that range has no positive.
        positive = distance <= max(self.tolerance_ms, grid.hop_ms / 2)
        allowed = positive | (distance >= self.gap_ms)
        target, allowed = torch.from_numpy(positive).float(), torch.from_numpy(allowed)
        if self.negatives == "clip":
            return DensePairs("anchor", "positive", target, within="clip", allowed=allowed)
        anchors = None if self.anchors is None else _drawn_rows(grid, self.anchors, rng)
        rows = torch.arange(grid.size * grid.frames) if anchors is None else anchors
        own_target, own_allowed = (part.flatten(0, 1)[rows] for part in (target, allowed))
        return BlockPairs(
            "anchor",
            "positive",
            own_target,
            own_allowed,
            rows // grid.frames * grid.frames,
            grid.size * grid.frames,
            anchors,
        )


def _drawn_rows(grid: FrameGrid, count: int, rng: np.random.Generator) -> torch.Tensor:
    """``count`` different frames of each clip, as ascending flat indices clip * T' + frame."""
    frames = np.argsort(rng.random((grid.size, grid.frames)), axis=1)[:, :count]
    return torch.from_numpy(np.sort(frames + grid.frames * np.arange(grid.size)[:, None], axis=None))
