"""The network of BYOL-A v2, AudioNTT2022 (Niizumi et al. 2023, section III-C); loads its released weights."""

from __future__ import annotations

from typing import List

import torch
from torch import Tensor, nn

from ssltoolkit.encoders.base import Encoder
from ssltoolkit.errors import ParameterError, check_range
from ssltoolkit.layers import BatchNormAct
from ssltoolkit.registry import register


@register("encoder", "audiontt", provided=("n_mels",))
class AudioNTT(Encoder):
    """BYOL-A v2's AudioNTT2022: convolutions with max pooling, followed by two linear layers on each frame.

    The default with 64 mel bands has 6.3 million parameters and a 40 ms hop. The first
    ``channels * (n_mels // 2 ** layers)`` of the D values are the convolutions' output (``convolutions``), the rest is
    the output of the linear layers (``linear``).

    Args:
        n_mels: F, at least ``2 ** layers``.
        embed_dim: D, above ``channels * (n_mels // 2 ** layers)``; 3072 in the released weights.
        channels: convolution channels.
        hidden_dim: hidden size of the linear layers.
        layers: number of convolutions; each halves time and frequency (2 gives a 40 ms, 3 an 80 ms hop).
        dropout: dropout between the linear layers.

    Example:
        ``encoder: {name: audiontt, embed_dim: 3072}``
    """

    def __init__(
        self,
        n_mels: int,
        embed_dim: int = 3072,
        channels: int = 64,
        hidden_dim: int = 2048,
        layers: int = 2,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        check_range("channels", channels, 1)
        check_range("hidden_dim", hidden_dim, 1)
        check_range("layers", layers, 1, 5)
        check_range("n_mels", n_mels, 2**layers)
        check_range("dropout", dropout, 0.0, 0.9)
        bands = n_mels // 2**layers
        if embed_dim <= channels * bands:
            raise ParameterError(
                "embed_dim", f"must be above the {channels * bands} outputs of the convolutions, got {embed_dim}"
            )
        self.embed_dim, self.stride, self.n_mels = embed_dim, 2**layers, n_mels
        # Each 3-frame convolution adds one frame on either side, at resolutions of 1, 2, 4, ... input frames.
        self.context_frames = 2**layers - 1
        parts: List[nn.Module] = []
        for index in range(layers):
            convolution = nn.Conv2d(channels if index else 1, channels, 3, padding=1)
            # nn.Identity keeps the layer numbers of the released weights, where ReLU is a layer of its own.
            parts += [convolution, BatchNormAct(channels, "relu"), nn.Identity(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*parts)
        convolved = channels * bands
        self.outputs = {"convolutions": convolved, "linear": embed_dim - convolved}
        self.fc = nn.Sequential(
            nn.Linear(convolved, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, embed_dim - convolved),
            nn.ReLU(),
        )

    def encode(self, x: Tensor) -> Tensor:
        y = self.features(x.transpose(1, 2).unsqueeze(1))  # (B, C, F', T')
        y = y.permute(0, 3, 2, 1).flatten(2)  # (B, T', F' C), the order the released linear layers were trained in
        return torch.cat([y, self.fc(y)], dim=2)
