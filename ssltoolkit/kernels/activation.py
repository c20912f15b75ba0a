"""torch versions of the activations that kernels support."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Activation = Literal["identity", "relu", "silu"]


def plain_act(x: Tensor, activation: Activation, inplace: bool = False) -> Tensor:
    """Apply the activation to a tensor of any shape; set ``inplace`` only if nothing else reads the tensor."""
    if activation == "relu":
        return nn.functional.relu(x, inplace=inplace)
    return nn.functional.silu(x, inplace=inplace) if activation == "silu" else x
