"""The activations that kernels know, by torch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Activation = Literal["identity", "relu", "silu"]


def plain_act(x: Tensor, activation: Activation, inplace: bool = False) -> Tensor:
    """The activation of a tensor of any shape; ``inplace`` where nobody else reads it."""
    if activation == "relu":
        return nn.functional.relu(x, inplace=inplace)
    return nn.functional.silu(x, inplace=inplace) if activation == "silu" else x
