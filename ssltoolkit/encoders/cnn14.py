"""CNN14 of PANNs (Kong et al. 2020, table I) for 16 kHz; loads its released weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ssltoolkit.encoders.base import Encoder
from ssltoolkit.errors import check_range
from ssltoolkit.registry import register

_BLOCKS = 6


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU, then average pooling."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        for convolution in (self.conv1, self.conv2):
            nn.init.xavier_uniform_(convolution.weight)

    def forward(self, x: Tensor, pool: tuple) -> Tensor:
        x = nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = nn.functional.relu(self.bn2(self.conv2(x)), inplace=True)
        return nn.functional.avg_pool2d(x, pool) if pool != (1, 1) else x


@register("encoder", "cnn14", provided=("n_mels",))
class Cnn14(Encoder):
    """PANNs' CNN14: six blocks of two convolutions, mean over frequency, a linear layer on local maximum plus mean.

    The default has 79.7 million parameters. The published network pools a whole clip (maximum plus mean over time,
    linear, ReLU); here each frame pools three frames, as in its frame-level variants.

    Args:
        n_mels: F, at least 32.
        embed_dim: D, the size of the linear layer; 2048 in the released weights.
        width: channels of the first block; each later block has twice as many.
        time_stride: input frames per output frame; 32 is the published network (320 ms). With 8 (80 ms) or 4 the later
            blocks pool over frequency only.
        dropout: dropout after each block.

    Example:
        ``encoder: {name: cnn14, embed_dim: 2048, time_stride: 8}``
    """

    def __init__(
        self,
        n_mels: int,
        embed_dim: int = 2048,
        width: int = 64,
        time_stride: Literal[32, 16, 8, 4] = 32,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_range("n_mels", n_mels, 2 ** (_BLOCKS - 1))
        check_range("embed_dim", embed_dim, 1)
        check_range("width", width, 1)
        check_range("dropout", dropout, 0.0, 0.9)
        self.embed_dim, self.stride, self.min_frames, self.n_mels = embed_dim, time_stride, time_stride, n_mels
        self.bn0 = nn.BatchNorm2d(n_mels)
        self.pools, reached, reach, inputs = [], 1, 0, 1
        for index in range(_BLOCKS):
            setattr(self, f"conv_block{index + 1}", ConvBlock(inputs, width * 2**index))
            inputs = width * 2**index
            reach += 2 * reached  # two convolutions reach two frames of this resolution to either side
            in_time = 2 if reached < time_stride else 1
            reached *= in_time
            self.pools.append((in_time, 2) if index < _BLOCKS - 1 else (1, 1))
        self.context_frames = reach + reached  # and the local maximum and mean one output frame
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(inputs, embed_dim)
        nn.init.xavier_uniform_(self.fc1.weight)
        nn.init.zeros_(self.fc1.bias)

    def encode(self, x: Tensor) -> Tensor:
        y = self.bn0(x.transpose(1, 2).unsqueeze(3)).permute(0, 3, 2, 1)  # bands are the channels of bn0; (B, 1, T, F)
        for index, pool in enumerate(self.pools):
            y = self.dropout(getattr(self, f"conv_block{index + 1}")(y, pool))
        y = y.mean(dim=3)  # (B, C, T')
        y = nn.functional.max_pool1d(y, 3, 1, 1) + nn.functional.avg_pool1d(y, 3, 1, 1)
        return torch.relu(self.fc1(y.transpose(1, 2)))
