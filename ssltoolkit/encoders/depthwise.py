"""Depthwise convolutions with gradients that CPUs compute fast; elsewhere, and without gradients, they are torch's
own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DepthwiseConv1d(nn.Conv1d):
    """One filter a channel over time, (B, T, C) to the same; zeros beyond the ends.

    Args:
        channels: C.
        kernel: frames of the filter, odd.
        dilation: distance of its frames.
    """

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__(
            channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled() or x.dtype not in (torch.float32, torch.bfloat16):
            return super().forward(x.transpose(1, 2)).transpose(1, 2)
        from ssltoolkit.kernels.depthwise import depthwise

        return depthwise(x, self.weight, self.dilation[0])
