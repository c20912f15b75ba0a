"""Masking transforms of the log-mel spectrogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.transforms.base import Params, Transform


@register("transform", "mask")
@dataclass(frozen=True)
class Mask(Transform):
    """Mask one random time span and one frequency span with the view's mean (SpecAugment without time warping).

    Args:
        max_time: largest masked share of the frames.
        max_frequency: largest masked share of the bands.

    Example:
        ``- {name: mask, max_time: 0.2, max_frequency: 0.2}``
    """

    max_time: float = 0.1
    max_frequency: float = 0.1
    domain = "log"
    scope = "clip"

    def __post_init__(self) -> None:
        check_range("max_time", self.max_time, 0.0, 1.0)
        check_range("max_frequency", self.max_frequency, 0.0, 1.0)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        width = rng.random((size, 2)).astype(np.float32) * np.float32([self.max_time, self.max_frequency])
        return {"width": width, "start": rng.random((size, 2)).astype(np.float32) * (1.0 - width)}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        masked = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
        for axis in (1, 2):
            shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
            position = (torch.arange(x.shape[axis], device=x.device) / x.shape[axis]).view(shape)
            start, width = (params[key][:, axis - 1].view(-1, 1, 1) for key in ("start", "width"))
            masked = masked | ((position >= start) & (position < start + width))
        return torch.where(masked, x.mean(dim=(1, 2), keepdim=True), x)
