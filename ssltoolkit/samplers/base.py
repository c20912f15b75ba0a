"""The interface of a sampler and the comparisons it can return.

Shapes: B clips, T' encoder frames, R rows and C columns of a comparison, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Dict, Literal, Mapping, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.registry import REGISTRY
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View

Level = Literal["clip", "frame"]


@dataclass
class DensePairs:
    """Every row is compared with every column of its group.

    Attributes:
        rows: role of the view whose embeddings are the rows (anchors).
        columns: role of the view whose embeddings are the columns (positives and negatives), or several roles, whose
            columns follow each other.
        target: (G or 1, R, C) float, weight of each column as a positive of the row; a row of zeros is left out.
        within: ``batch`` one group of all clips (or of all frames of all clips), ``clip`` one group a clip.
        allowed: optional (G or 1, R, C) bool, columns that count at all; None means all.
    """

    rows: str
    columns: Union[str, Tuple[str, ...]]
    target: Tensor
    within: Literal["batch", "clip"] = "batch"
    allowed: Optional[Tensor] = None

    def to(self, device: Union[str, torch.device]) -> "DensePairs":
        """The same on another device."""
        allowed = None if self.allowed is None else self.allowed.to(device)
        return DensePairs(self.rows, self.columns, self.target.to(device), self.within, allowed)


@dataclass
class DifferenceTargets:
    """The head's value of one view minus that of another should equal a known number.

    Attributes:
        first: role of the view subtracted.
        second: role of the view subtracted from.
        value: (B,) or (B, T') float, wanted ``head(second) - head(first)``.
    """

    first: str
    second: str
    value: Tensor

    def to(self, device: Union[str, torch.device]) -> "DifferenceTargets":
        """The same on another device."""
        return DifferenceTargets(self.first, self.second, self.value.to(device))


Comparison = Union[DensePairs, DifferenceTargets]


@REGISTRY.base("sampler")
class Sampler:
    """Says which views a strategy needs and what is compared with what.

    A subclass sets ``level`` (``clip``: one embedding a view; ``frame``: one a frame), ``returns`` (the class of
    comparison, which must suit the loss), passes its views by role to ``__init__`` and implements :meth:`compare`.
    """

    level: ClassVar[Level]
    returns: ClassVar[type] = DensePairs

    def __init__(self, **views: View) -> None:
        if not views:
            raise ValueError(f"{type(self).__name__} asks for no view")
        self.views: Dict[str, View] = dict(views)

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> Comparison:
        """What is compared in this batch.

        Args:
            views: role -> what was drawn for that view.
            grid: the encoder's frames.
            rng: this batch's own random source.
        """
        raise NotImplementedError
