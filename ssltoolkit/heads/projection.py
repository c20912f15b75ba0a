"""Heads between the encoder's frames and a strategy's loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ssltoolkit.errors import check_range
from ssltoolkit.registry import REGISTRY


@REGISTRY.base("head")
class Head(nn.Module):
    """Encoder frames (B, T', D) to (B, out_dim) of a clip-level or (B, T', out_dim) of a frame-level strategy."""

    out_dim: int


@REGISTRY.register("head", "projection", provided=("embed_dim", "level"))
class Projection(Head):
    """z = W tanh(LayerNorm(h)) for each frame, or of the frames pooled over time at clip level.

    Args:
        embed_dim: D, of the encoder.
        level: ``clip`` pools first, ``frame`` keeps every frame.
        out_dim: of the output; 1 for a regression.
        bias: of W (the paper's clip head has none).
        pool: over time, at clip level.
    """

    def __init__(
        self, embed_dim: int, level: str, out_dim: int = 512, bias: bool = True, pool: Literal["max", "mean"] = "max"
    ) -> None:
        super().__init__()
        check_range("out_dim", out_dim, 1)
        self.level, self.out_dim, self.pool = level, out_dim, pool
        self.norm = nn.LayerNorm(embed_dim)
        self.linear = nn.Linear(embed_dim, out_dim, bias=bias)

    def forward(self, h: Tensor) -> Tensor:
        if self.level == "clip":
            h = h.amax(dim=1) if self.pool == "max" else h.mean(dim=1)
        return self.linear(torch.tanh(self.norm(h)))
