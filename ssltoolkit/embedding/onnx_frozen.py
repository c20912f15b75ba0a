"""Adapter that makes an ONNX model a frozen model, for example for the HEAR API."""

from __future__ import annotations

from pathlib import Path
from typing import Union

import torch
from torch import Tensor

from ssltoolkit.embedding.frozen import FrozenModel, checked_waves
from ssltoolkit.hub.onnx_model import OnnxModel


class OnnxFrozen(FrozenModel):
    """An :class:`OnnxModel` with tensors as input and output, on the CPU."""

    pools_frames = False

    def __init__(self, path: Union[str, Path]) -> None:
        super().__init__()
        self.session = OnnxModel(path)
        self.sample_rate, self.hop_ms = self.session.sample_rate, self.session.hop_ms
        self.scene_dim, self.frame_dim = self.session.scene_dim, self.session.frame_dim
        self.identity = self.session.identity
        self.register_buffer("place", torch.zeros(0))
        self.eval()

    def frames(self, waves: Tensor) -> Tensor:
        return torch.from_numpy(self.session.frames(checked_waves(waves).cpu().numpy()))

    def scenes(self, waves: Tensor) -> Tensor:
        return torch.from_numpy(self.session.scenes(checked_waves(waves).cpu().numpy()))
