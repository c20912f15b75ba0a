"""The interface of a sampler and the comparisons it can return.

Shapes: B clips, T' encoder frames, R rows and C columns of a comparison, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Dict, Literal, Mapping, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.data.transfer import on_device
from ssltoolkit.errors import ParameterError
from ssltoolkit.registry import REGISTRY
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View

Level = Literal["clip", "frame"]


@dataclass
class DensePairs:
    """Every row is compared with every column of its group.

    Attributes:
        rows: role of the view whose embeddings are the rows (anchors).
        columns: role of the view whose embeddings are the columns (positives and negatives), or several roles, whose
            columns are concatenated.
        target: (G or 1, R, C) floating-point, weight of each column as a positive of the row; all-zero rows are
            ignored.
        within: ``batch``: one group of all clips (or of all frames of all clips); ``clip``: one group per clip.
        allowed: optional (G or 1, R, C) bool, columns that take part in the comparison; None means all.
        anchors: optional (R,) int64, which rows of the (one) group are anchors; None means all.
    """

    rows: str
    columns: Union[str, Tuple[str, ...]]
    target: Tensor
    within: Literal["batch", "clip"] = "batch"
    allowed: Optional[Tensor] = None
    anchors: Optional[Tensor] = None

    def to(self, device: Union[str, torch.device]) -> "DensePairs":
        """The same on another device."""
        allowed, anchors = (None if part is None else on_device(part, device) for part in (self.allowed, self.anchors))
        return DensePairs(self.rows, self.columns, on_device(self.target, device), self.within, allowed, anchors)


class BlockPairs(DensePairs):
    """A block-sparse :class:`DensePairs` of one group: each row has positives only in a block of W columns.

    The block of a row starts at column ``own_first`` and holds the frames of its own clip. Only there are positives and
    excluded columns; all other columns are negatives. Losses that support this form never build the full R x C matrix.

    Args:
        rows, columns, anchors: see :class:`DensePairs`.
        own_target: (R, W) floating-point, weight of each own column as a positive of the row.
        own_allowed: (R, W) bool, own columns that take part in the comparison.
        own_first: (R,) int64, first of the own columns.
        total: C, number of columns.
    """

    def __init__(
        self,
        rows: str,
        columns: str,
        own_target: Tensor,
        own_allowed: Tensor,
        own_first: Tensor,
        total: int,
        anchors: Optional[Tensor] = None,
    ) -> None:
        self.rows, self.columns, self.within, self.anchors = rows, columns, "batch", anchors
        self.own_target, self.own_allowed, self.own_first, self.total = own_target, own_allowed, own_first, total

    @property
    def place(self) -> Tensor:
        """(R, W) int64, indices of the own columns."""
        return self.own_first[:, None] + torch.arange(self.own_target.shape[1], device=self.own_first.device)

    @property
    def target(self) -> Tensor:
        return self.own_target.new_zeros(len(self.own_first), self.total).scatter_(1, self.place, self.own_target)[None]

    @property
    def allowed(self) -> Tensor:
        everything = torch.ones(len(self.own_first), self.total, dtype=torch.bool, device=self.own_first.device)
        return everything.scatter_(1, self.place, self.own_allowed)[None]

    def to(self, device: Union[str, torch.device]) -> "BlockPairs":
        target, allowed, first = (
            on_device(part, device) for part in (self.own_target, self.own_allowed, self.own_first)
        )
        anchors = None if self.anchors is None else on_device(self.anchors, device)
        return BlockPairs(self.rows, str(self.columns), target, allowed, first, self.total, anchors)


@dataclass
class IndexPairs:
    """Listed comparisons of frames: each anchor with its positive and its own negatives.

    Attributes:
        rows: role of the view of the anchors.
        columns: role of the view of positives and negatives.
        anchor: (N,) int64 flat indices clip * T' + frame.
        positive: (N,) int64.
        negatives: (N, K) int64; -1 marks a missing negative.
    """

    rows: str
    columns: str
    anchor: Tensor
    positive: Tensor
    negatives: Tensor

    def to(self, device: Union[str, torch.device]) -> "IndexPairs":
        """The same on another device."""
        moved = (on_device(part, device) for part in (self.anchor, self.positive, self.negatives))
        return IndexPairs(self.rows, self.columns, *moved)

    def dense(self, outputs: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], DensePairs]:
        """Convert to one group per anchor: outputs (N, 1, D) and (N, 1 + K, D), and a dense comparison per group."""
        index = torch.cat([self.positive[:, None], self.negatives], dim=1)
        columns = outputs[self.columns].flatten(0, 1)[index.clamp_min(0)]
        rows = outputs[self.rows].flatten(0, 1)[self.anchor].unsqueeze(1)
        target = torch.zeros_like(index, dtype=rows.dtype).unsqueeze(1)
        target[..., 0] = 1.0
        gathered = {"anchors": rows, "candidates": columns}
        return gathered, DensePairs("anchors", "candidates", target, "clip", (index >= 0).unsqueeze(1))


@dataclass
class DifferenceTargets:
    """A regression target: the head's values of two views should differ by a known number.

    Attributes:
        first: role of the view that is subtracted.
        second: role of the view that it is subtracted from.
        value: (B,) or, at frame level, (B, T') floating-point, target of ``head(second) - head(first)``.
    """

    first: str
    second: str
    value: Tensor

    def to(self, device: Union[str, torch.device]) -> "DifferenceTargets":
        """The same on another device."""
        return DifferenceTargets(self.first, self.second, on_device(self.value, device))


Comparison = Union[DensePairs, IndexPairs, DifferenceTargets]


@REGISTRY.base("sampler")
class Sampler:
    """Defines the views of a strategy, and the positives and negatives of each batch.

    A subclass sets ``level`` (``clip``: one embedding per view; ``frame``: one per frame) and ``returns`` (the class of
    its comparisons, which the loss must accept), passes its views by role to ``__init__`` and implements
    :meth:`compare`. With ``uses_groups``, ``grid.groups`` gives the ``utt2group`` groups of the clips in the batch, and
    batches are drawn with two clips of a group next to each other.
    """

    level: ClassVar[Level]
    uses_groups: ClassVar[bool] = False
    returns: ClassVar[type] = DensePairs

    def __init__(self, **views: View) -> None:
        if not views:
            raise ParameterError(
                "views", f"{type(self).__name__} asks for no view; pass at least one to Sampler.__init__"
            )
        self.views: Dict[str, View] = dict(views)

    def refuse_moved_frames(self) -> None:
        """Reject transforms that move frames in time; for samplers that match frames of two views by time.

        Raises:
            ParameterError: a view has such a transform.
        """
        for role, view in self.views.items():
            for transform in view.transforms:
                if transform.moves_time:
                    name = transform.registered_name
                    raise ParameterError(
                        role,
                        f"{name!r} moves frames in time, and this sampler matches them by it; use {name!r} in a "
                        "clip-level strategy",
                    )

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> Comparison:
        """Return the comparison of this batch.

        Args:
            views: role -> rendered view with its drawn parameters.
            grid: number of clips and frames, hop and groups of the batch.
            rng: random generator of this batch.
        """
        raise NotImplementedError
