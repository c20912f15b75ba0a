"""Adapter for X-ARES (package ``xares``): an encoder for its tasks.

Write a file that names the model, and pass it to ``python -m xares.run``::

    from ssltoolkit.adapters.xares import SSLToolkitEncoder

    class MyEncoder(SSLToolkitEncoder):
        model_name = "exp/main/multi_strategy/best.pt"
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssltoolkit.adapters.common import loaded, waves_of


class SSLToolkitEncoder(torch.nn.Module):
    """Waves (B, N) to frame embeddings (B, T, D).

    Args:
        model: a frozen model or its name; default ``model_name``.

    Attributes:
        sampling_rate: Hz. output_dim: D. hop_size_in_ms: time between frames.
    """

    model_name = "shipped"

    def __init__(self, model: Any = None) -> None:
        super().__init__()
        self.model = loaded(model or self.model_name)
        self.sampling_rate, self.output_dim = int(self.model.sample_rate), int(self.model.frame_dim)
        self.hop_size_in_ms = float(self.model.hop_ms)

    def forward(self, audio: Tensor) -> Tensor:
        """(N,) or (B, N) at ``sampling_rate`` to (B, T, D)."""
        # clone(): tensors of inference mode cannot be saved for the backward pass of a downstream model.
        return self.model.frames(waves_of(audio, self.model)).clone()
