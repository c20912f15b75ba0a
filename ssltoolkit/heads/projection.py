"""Heads between the encoder's frames and a strategy's loss."""

from __future__ import annotations

from typing import ClassVar, Literal, Optional, Tuple

import torch
from torch import Tensor, nn

from ssltoolkit.errors import check_range
from ssltoolkit.layers import BatchNormAct
from ssltoolkit.registry import REGISTRY


@REGISTRY.base("head")
class Head(nn.Module):
    """Encoder frames (B, T', D) to (B, out_dim) of a clip-level or (B, T', out_dim) of a frame-level strategy.

    Attributes:
        out_dim: of the output.
        pooling: over time, of the frames that :meth:`forward` is given; None gives it the frames. Heads that pool alike
            share the work.
        reads: outputs of the encoder that the head is made for. It is given these alone, where the encoder has them and
            the configuration (``head: {outputs: ...}``) does not say otherwise.
    """

    out_dim: int
    pooling: Optional[str] = None
    reads: ClassVar[Tuple[str, ...]] = ()


@REGISTRY.register("head", "projection", provided=("embed_dim", "level"))
class Projection(Head):
    """z = W tanh(LayerNorm(h)) for each frame, or of the frames pooled over time at clip level (the paper's head).

    With ``hidden``, z = W relu(BatchNorm(V h)): what a loss throws away is then thrown away in the head.

    Args:
        embed_dim: D, of the encoder's outputs that the head reads.
        level: ``clip`` pools first, ``frame`` keeps every frame.
        out_dim: of the output; 1 for a regression.
        bias: of W (the paper's clip head has none).
        pool: over time, at clip level.
        hidden: rows of V; None for the paper's head.

    Shape:
        (B, T', D) of a frame-level strategy, (B, k D) of a clip-level one that names k poolings, to (B, T', out_dim) or
        (B, out_dim).

    Example:
        ``head: {name: projection, hidden: 512, out_dim: 256, outputs: [-pitch_axis]}``
    """

    def __init__(
        self,
        embed_dim: int,
        level: str,
        out_dim: int = 512,
        bias: bool = True,
        pool: Literal["max", "mean", "max+mean"] = "max",
        hidden: Optional[int] = None,
    ) -> None:
        super().__init__()
        check_range("out_dim", out_dim, 1)
        self.out_dim = out_dim
        self.pooling = pool if level == "clip" else None
        inputs = embed_dim * (len(pool.split("+")) if level == "clip" else 1)
        self.hidden = None
        if hidden is None:
            self.norm = nn.LayerNorm(inputs)
        else:
            check_range("hidden", hidden, 1)
            self.hidden, self.norm = nn.Linear(inputs, hidden, bias=False), BatchNormAct(hidden, "relu")
        self.linear = nn.Linear(hidden or inputs, out_dim, bias=bias)

    def forward(self, h: Tensor) -> Tensor:
        if self.hidden is None:
            return self.linear(torch.tanh(self.norm(h)))
        z = self.hidden(h)
        return self.linear(self.norm(z.flatten(0, -2)).view_as(z))
