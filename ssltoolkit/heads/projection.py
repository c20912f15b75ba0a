"""Heads between the encoder's frames and a strategy's loss."""

from __future__ import annotations

from typing import Literal, Optional

import torch
from torch import Tensor, nn

from ssltoolkit.encoders.base import pool_scene
from ssltoolkit.errors import check_range
from ssltoolkit.registry import REGISTRY


@REGISTRY.base("head")
class Head(nn.Module):
    """Encoder frames (B, T', D) to (B, out_dim) of a clip-level or (B, T', out_dim) of a frame-level strategy."""

    out_dim: int


@REGISTRY.register("head", "projection", provided=("embed_dim", "level", "pitch_bins"))
class Projection(Head):
    """z = W tanh(LayerNorm(h)) for each frame, or of the frames pooled over time at clip level (the paper's head).

    With ``hidden``, z = W relu(BatchNorm(V h)): what a loss throws away is then thrown away in the head.

    Args:
        embed_dim: D, of the encoder.
        level: ``clip`` pools first, ``frame`` keeps every frame.
        out_dim: of the output; 1 for a regression.
        bias: of W (the paper's clip head has none).
        pool: over time, at clip level.
        hidden: rows of V; None for the paper's head.
        pitch_axis: of an encoder that has an axis of log frequency: ``learn`` reads it and so trains it, ``ignore`` leaves it to a
            strategy of its own, out of reach of the invariances that this loss asks for.
        pitch_bins: last columns of the embedding that are this axis; 0 without.
    """

    def __init__(
        self,
        embed_dim: int,
        level: str,
        out_dim: int = 512,
        bias: bool = True,
        pool: Literal["max", "mean", "max+mean"] = "max",
        hidden: Optional[int] = None,
        pitch_axis: Literal["learn", "ignore"] = "learn",
        pitch_bins: int = 0,
    ) -> None:
        super().__init__()
        check_range("out_dim", out_dim, 1)
        self.level, self.out_dim, self.pool = level, out_dim, pool
        self.pitch_axis, self.pitch_bins = pitch_axis, pitch_bins
        if pitch_axis == "ignore":
            embed_dim -= pitch_bins
        inputs = embed_dim * (len(pool.split("+")) if level == "clip" else 1)
        self.hidden = None
        if hidden is None:
            self.norm = nn.LayerNorm(inputs)
        else:
            check_range("hidden", hidden, 1)
            self.hidden, self.norm = nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden)
        self.linear = nn.Linear(hidden or inputs, out_dim, bias=bias)

    def forward(self, h: Tensor) -> Tensor:
        if self.pitch_axis == "ignore":
            h = h[..., : h.shape[-1] - self.pitch_bins]
        if self.level == "clip":
            h = pool_scene(h, self.pool)
        if self.hidden is None:
            return self.linear(torch.tanh(self.norm(h)))
        z = self.hidden(h)
        return self.linear(torch.relu(self.norm(z.flatten(0, -2)).view_as(z)))
