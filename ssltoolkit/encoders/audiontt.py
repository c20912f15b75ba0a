"""The network of BYOL-A v2, AudioNTT2022 (Niizumi et al. 2023, section III-C); its released weights' keys load."""

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
    """BYOL-A v2's AudioNTT2022: convolutions with max pooling, beside them two linear layers on each frame.

    With the defaults and 64 bands 6.3 million parameters, 40 ms hop. The first ``channels * (n_mels // 2 ** layers)``
    of the D outputs are the convolutions' own (``convolutions``), the others come from the linear layers (``linear``).

    Args:
        n_mels: F, at least ``2 ** layers``.
        embed_dim: D, above ``channels * (n_mels // 2 ** layers)``; 3072 in the released weights.
        channels: of the convolutions.
        hidden_dim: of the linear layers.
        layers: convolutions, each of which halves time and frequency: 2 is a 40 ms, 3 an 80 ms hop.
        dropout: between the linear layers.

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
        # A 3-frame convolution at each of the resolutions 1, 2, 4, ... reaches one of its own frames to either side.
        self.context_frames = 2**layers - 1
        parts: List[nn.Module] = []
        for index in range(layers):
            convolution = nn.Conv2d(channels if index else 1, channels, 3, padding=1)
            # released weights number the rectifier as a layer
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
