"""The head of losses that compare distributions over an axis of pitch."""

from __future__ import annotations

from torch import Tensor

from ssltoolkit.encoders.base import pool_scene
from ssltoolkit.errors import check_range
from ssltoolkit.heads.projection import Head, Projection
from ssltoolkit.registry import register


@register("head", "pitch_axis", provided=("embed_dim", "level", "pitch_bins", "pitch_axes"))
class PitchAxisHead(Head):
    """Logits over an axis of log frequency: the encoder's own columns where it has such, else a ``projection`` of its frames.

    Args:
        embed_dim: D, of the encoder.
        level: ``frame`` keeps every frame, ``clip`` takes their mean.
        pitch_bins: last columns of the embedding that are the encoder's own logits; 0 without.
        pitch_axes: equal parts of these columns, whose sum is the logits.
        bins: of the projection, for encoders without an axis of their own.
    """

    def __init__(self, embed_dim: int, level: str, pitch_bins: int = 0, pitch_axes: int = 1, bins: int = 264) -> None:
        super().__init__()
        check_range("bins", bins, 1)
        self.pitch_bins, self.pitch_axes, self.out_dim = pitch_bins, pitch_axes, pitch_bins // pitch_axes or bins
        self.projection = None if pitch_bins else Projection(embed_dim, level, bins, pool="mean")
        self.level = level

    def forward(self, h: Tensor) -> Tensor:
        if self.projection is not None:
            return self.projection(h)
        logits = h[..., -self.pitch_bins :].unflatten(-1, (self.pitch_axes, -1)).sum(-2)
        return pool_scene(logits, "mean") if self.level == "clip" else logits
