"""Conformer (Gulati et al. 2020) on torchaudio's implementation, the encoder of the authors' HEAR submission."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from ssltoolkit.encoders.base import Encoder
from ssltoolkit.errors import ParameterError, UserError, check_range
from ssltoolkit.registry import register


@register("encoder", "conformer", provided=("n_mels",))
class Conformer(Encoder):
    """Conformer: strided convolutions shorten time, then self-attention and depthwise convolutions alternate.

    The default has 1.5 million parameters and a 40 ms hop. Attention spans the whole input, so long audio is embedded
    segment by segment. Needs torchaudio (``pip install 'ssltoolkit[torchaudio]'``).

    Args:
        n_mels: F, at least 4.
        embed_dim: D, a multiple of ``heads``.
        layers: conformer blocks.
        heads: attention heads.
        ffn_dim: hidden size of the feed-forward layers.
        kernel: frames of the depthwise convolutions, odd.
        channels: channels of the strided convolutions.
        time_stride: input frames per output frame: 4 gives a 40 ms, 8 an 80 ms hop.
        dropout: dropout in every part of a block.

    Raises:
        UserError: torchaudio is missing.

    Example:
        ``encoder: {name: conformer, embed_dim: 144, layers: 3}``
    """

    def __init__(
        self,
        n_mels: int,
        embed_dim: int = 144,
        layers: int = 3,
        heads: int = 4,
        ffn_dim: int = 576,
        kernel: int = 15,
        channels: int = 32,
        time_stride: Literal[4, 8] = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_range("n_mels", n_mels, 4)
        check_range("layers", layers, 1, 48)
        check_range("heads", heads, 1)
        check_range("ffn_dim", ffn_dim, 1)
        check_range("kernel", kernel, 1, 255)
        check_range("channels", channels, 1)
        check_range("dropout", dropout, 0.0, 0.9)
        if kernel % 2 == 0:
            raise ParameterError("kernel", f"must be odd, got {kernel}")
        if embed_dim < 1 or embed_dim % heads:
            raise ParameterError("embed_dim", f"must be a multiple of heads ({heads}), got {embed_dim}")
        self.embed_dim, self.stride, self.n_mels = embed_dim, time_stride, n_mels
        first = nn.Conv2d(1, channels, 3, (2, 2), 1)
        second = nn.Conv2d(channels, channels, 3, (time_stride // 2, 2), 1)
        self.front = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))
        bands = math.ceil(n_mels / 4)  # two strides of 2, each rounding up
        self.project = nn.Linear(channels * bands, embed_dim)
        self.blocks = _torchaudio_conformer()(embed_dim, heads, ffn_dim, layers, kernel, dropout)

    def encode(self, x: Tensor) -> Tensor:
        y = self.front(x.unsqueeze(1))  # (B, C, T', F')
        y = self.project(y.transpose(1, 2).flatten(2))
        # All clips of a batch have the same length: no frame is padding.
        lengths = torch.full((y.shape[0],), y.shape[1], device=y.device)
        return self.blocks(y, lengths)[0]


def _torchaudio_conformer() -> type:
    try:
        from torchaudio.models import Conformer as Blocks
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"encoder 'conformer' needs torchaudio ({reason}); run tools/setup.sh of a checkout or pip install "
            "'ssltoolkit[torchaudio]', or choose another encoder"
        ) from None
    return Blocks
