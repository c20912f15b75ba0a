"""Clip-level sampling across utterances: clips of the same group are positives, for example one text in two voices."""

from __future__ import annotations

from typing import Mapping, Optional, Sequence

import numpy as np
import torch

from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DensePairs
from ssltoolkit.samplers.clip import ClipSampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.views import FrameGrid, RenderedView


@register("sampler", "clip_group")
class ClipGroupSampler(ClipSampler):
    """Positives of a clip are its other segment, as in ``clip``, and segments of other clips of its group.

    Groups come from ``utt2group`` of the data directory. They need no extra views: a batch is drawn with two clips of a
    group next to each other, and each is a positive of the other. Some groups need no labels: one text by several
    synthetic voices, one score on several instruments, several renderings of one synthesiser patch (Cherep and Singh
    2024, "Contrastive Learning from Synthetic Audio Doppelgaengers"). With class labels as groups this is supervised
    contrastive learning (Khosla et al. 2020) between two views.

    Args:
        anchor: transforms of the anchor.
        positive: transforms of the positive.
        max_offset: largest distance between the starts of a clip's two segments, seconds; None for anywhere in the
            clip.
        group_weight: weight of positives from other clips; the clip's own positive has weight 1.

    Raises:
        ParameterError: a weight of 0 or less, or a negative offset.

    Example:
        ``sampler: {name: clip_group, max_offset: 0.4, group_weight: 1}``
    """

    uses_groups = True

    def __init__(
        self,
        anchor: Sequence[Transform] = (),
        positive: Sequence[Transform] = (),
        max_offset: Optional[float] = None,
        group_weight: float = 1.0,
    ) -> None:
        check_range("group_weight", group_weight, 0.0, 1e6, open_low=True)
        super().__init__(anchor, positive, max_offset)
        self.group_weight = group_weight

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> DensePairs:
        target = np.eye(grid.size, dtype=np.float32)
        if grid.groups is not None:
            other = (grid.groups[:, None] == grid.groups[None, :]) & (grid.groups >= 0)[:, None] & (target == 0)
            target[other] = self.group_weight
        return DensePairs("anchor", "positive", torch.from_numpy(target)[None])
