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
    """Map encoder frames (B, T', D) to (B, out_dim) at clip level or (B, T', out_dim) at frame level.

    Attributes:
        out_dim: output size.
        pooling: pooling over time applied before :meth:`forward`; None passes the frames. Heads with the same pooling
            share its result.
        reads: encoder outputs that the head is made for. By default it reads only these, if the encoder has them;
            ``head: {outputs: ...}`` in the configuration overrides this.
    """

    out_dim: int
    pooling: Optional[str] = None
    reads: ClassVar[Tuple[str, ...]] = ()


@REGISTRY.register("head", "projection", provided=("embed_dim", "level"))
class Projection(Head):
    """z = W tanh(LayerNorm(h)) of each frame or, at clip level, of the frames pooled over time (the paper's head).

    With ``hidden``, z = W relu(BatchNorm(V h)): the head, not the encoder, then discards what the loss does not need.

    Args:
        embed_dim: D, total columns of the encoder outputs that the head reads.
        level: ``clip`` pools first, ``frame`` keeps every frame.
        out_dim: output size; 1 for a regression.
        bias: whether W has a bias (the paper's clip head has none).
        pool: pooling over time at clip level.
        hidden: rows of V; None for the paper's head.

    Shape:
        Frame level: (B, T', D) to (B, T', out_dim). Clip level with k poolings: (B, k D) to (B, out_dim).

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
