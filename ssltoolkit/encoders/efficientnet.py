"""EfficientNet-B0 (Tan and Le 2019) for one-channel spectrograms, as the paper uses it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ssltoolkit.distributed.layers import drawn_rows
from ssltoolkit.encoders.base import Encoder
from ssltoolkit.errors import check_range
from ssltoolkit.registry import register

# expansion, output channels, blocks, stride of the first block, kernel: Table 1 of the EfficientNet paper.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM_CHANNELS, _LAST_CHANNELS = 32, 1280


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: tuple = (1, 1), groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01))


class SqueezeExcite(nn.Module):
    """Channel gates from local or whole-segment means (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = nn.functional.silu(self.reduce(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(gate))


class InvertedBottleneck(nn.Module):
    """Expand, depthwise convolution, squeeze-and-excite, project; residual where the shapes allow (MBConv)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: tuple, drop_path: float) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _conv_norm(inputs, width, 1) if expansion > 1 else None
        self.depthwise = _conv_norm(width, width, kernel, stride, groups=width)
        self.excite = SqueezeExcite(width, max(1, inputs // 4))
        self.project = _conv_norm(width, outputs, 1)
        self.residual = stride == (1, 1) and inputs == outputs
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else nn.functional.silu(self.expand(x))
        y = self.excite(nn.functional.silu(self.depthwise(y)))
        y = self.project(y)
        if not self.residual:
            return y
        if self.training and self.drop_path > 0:
            drawn = drawn_rows(y, lambda rows: torch.rand(rows, 1, 1, 1, device=y.device, dtype=y.dtype))
            keep = drawn >= self.drop_path
            y = y * keep / (1.0 - self.drop_path)
        return x + y


@register("encoder", "efficientnet_b0", provided=("n_mels",))
class EfficientNetB0(Encoder):
    """EfficientNet-B0 on one channel, max over frequency, linear to ``embed_dim`` (the paper's encoder).

    The batch norm after the last convolution is left out, as in the published network (4,004,412 parameters before
    the linear layer). Squeeze-and-excite looks at the whole input, so embeddings of long audio are taken segment by
    segment.

    Args:
        n_mels: F.
        embed_dim: D.
        time_stride: input frames per output frame; 32 is the stock network, smaller values keep the time stride of
            the late stages at 1.
        drop_path: largest stochastic-depth rate, reached in the last block.
    """

    def __init__(
        self, n_mels: int, embed_dim: int = 512, time_stride: Literal[32, 16, 8, 4] = 32, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        check_range("embed_dim", embed_dim, 1)
        check_range("drop_path", drop_path, 0.0, 0.9)
        self.embed_dim, self.stride, self.n_mels = embed_dim, time_stride, n_mels
        self.min_frames = 32
        reached = 2
        self.stem = _conv_norm(1, _STEM_CHANNELS, 3, (2, 2))
        blocks, inputs = [], _STEM_CHANNELS
        total = sum(stage[2] for stage in _STAGES)
        for expansion, outputs, count, stride, kernel in _STAGES:
            in_time = stride if reached * stride <= time_stride else 1
            reached *= in_time
            for index in range(count):
                step = (in_time, stride) if index == 0 else (1, 1)
                blocks.append(InvertedBottleneck(inputs, outputs, expansion, kernel, step, drop_path * len(blocks) / total))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(inputs, _LAST_CHANNELS, 1, bias=False)
        self.linear = nn.Linear(_LAST_CHANNELS, embed_dim)
        self.apply(_initialise)

    def encode(self, x: Tensor) -> Tensor:
        y = x.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        y = nn.functional.silu(self.stem(y))
        y = self.last(self.blocks(y))  # (B, 1280, T', F')
        return self.linear(y.amax(dim=3).transpose(1, 2))


def _initialise(module: nn.Module) -> None:
    """Keep the variance through every convolution; fan-in counts one channel for the depthwise ones."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
