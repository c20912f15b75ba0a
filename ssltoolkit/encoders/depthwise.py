"""Depthwise 1-D convolution with a fast CPU backward pass; on other devices, or without gradients, torch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DepthwiseConv1d(nn.Conv1d):
    """One filter per channel over time, (B, T, C) to (B, T, C), zero-padded.

    Args:
        channels: C.
        kernel: frames of the filter, odd.
        dilation: distance between its taps, in frames.
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
