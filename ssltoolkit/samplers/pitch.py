"""Pitch sampling: a clip, its transposed copy and the shift between them."""

from __future__ import annotations

from typing import Literal, Mapping, Sequence

import numpy as np
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DensePairs, DifferenceTargets, Sampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.pitch import PitchShift
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


@register("sampler", "pitch_shift")
class PitchShiftSampler(Sampler):
    """Predict the pitch shift between two differently transposed views, frame by frame.

    Section 2.3 of the paper: anchor against the anchor shifted by p ~ U(-0.2, 0.2); ``unit: ratio`` gives that form
    with p itself as the target, ``unit: semitone`` shifts and targets in semitones.

    Args:
        max_shift: largest shift, in ``unit``.
        unit: unit of the shift and of the target.
        anchor: transforms of the unshifted view.
        shifted: further transforms of the shifted view.
        shift_anchor: transpose the anchor too, independently; otherwise only one of the two views ever has
            transposition artefacts.

    Example:
        ``sampler: {name: pitch_shift, max_shift: 12, unit: semitone}``
    """

    level = "frame"
    returns = DifferenceTargets

    def __init__(
        self,
        max_shift: float = 4.0,
        unit: Literal["semitone", "ratio"] = "semitone",
        anchor: Sequence[Transform] = (),
        shifted: Sequence[Transform] = (),
        shift_anchor: bool = False,
    ) -> None:
        shift = PitchShift(max_shift, unit)
        self.unit = unit
        super().__init__(
            anchor=View(Cut("anchor"), (*anchor, shift) if shift_anchor else anchor),
            shifted=View(Cut("anchor"), (*shifted, shift), draw=1),
        )

    def compare(
        self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator
    ) -> DifferenceTargets:
        shift = [self._shift(views[role], grid.size) for role in ("anchor", "shifted")]
        return DifferenceTargets("anchor", "shifted", torch.from_numpy((shift[1] - shift[0]).astype(np.float32)))

    def _shift(self, view: RenderedView, size: int) -> np.ndarray:
        if self.unit == "ratio":
            ratio = view.param("pitch_shift", "ratio")
            return np.zeros(size) if ratio is None else ratio - 1.0
        semitones = view.param("pitch_shift", "semitones")
        return np.zeros(size) if semitones is None else semitones


@register("sampler", "pitch_contrast")
class PitchContrastSampler(Sampler):
    """Clip-level contrast with a transposed copy of the anchor as a negative, so that embeddings keep pitch.

    Clip-level contrast alone rewards invariance to whatever augmentation changes. Here the columns are the other
    segments of all clips and the transposed anchors of all clips, so the hardest negative differs only in pitch.

    Args:
        max_shift: largest shift, semitones.
        min_shift: a copy with a smaller shift is not a negative of its own anchor, semitones.
        anchor: transforms of the anchor.
        positive: transforms of the other segment of the clip.
        shifted: further transforms of the transposed anchor.
        max_offset: largest distance between the starts of anchor and positive, seconds.

    Example:
        ``sampler: {name: pitch_contrast, max_shift: 12, min_shift: 0.5}``
    """

    level = "clip"

    def __init__(
        self,
        max_shift: float = 4.0,
        min_shift: float = 0.5,
        anchor: Sequence[Transform] = (),
        positive: Sequence[Transform] = (),
        shifted: Sequence[Transform] = (),
        max_offset: float = 0.4,
    ) -> None:
        check_range("min_shift", min_shift, 0.0, max_shift)
        self.min_shift = min_shift
        super().__init__(
            anchor=View(Cut("anchor"), anchor),
            positive=View(Cut("positive", "anchor", max_offset), positive, draw=1),
            shifted=View(Cut("anchor"), (*shifted, PitchShift(max_shift)), draw=1),
        )

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> DensePairs:
        same = torch.eye(grid.size)
        far = torch.from_numpy(np.abs(views["shifted"].param("pitch_shift", "semitones")) >= self.min_shift)
        # A barely transposed own copy is neither positive nor negative; other clips' copies are always negatives.
        allowed = torch.cat([torch.ones(grid.size, grid.size, dtype=torch.bool), ~same.bool() | far[None]], dim=1)
        target = torch.cat([same, torch.zeros_like(same)], dim=1)
        return DensePairs("anchor", ("positive", "shifted"), target[None], allowed=allowed[None])
