"""Transforms that resample the mel spectrogram: tempo changes and resized crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.transforms.base import Params, Transform


def read_at(x: Tensor, position: Tensor) -> Tensor:
    """Frames of x (B, T, M) at fractional ``position`` (B, T'), linearly interpolated and reflected at both ends."""
    last = x.shape[1] - 1
    if last == 0:
        return x.expand(-1, position.shape[1], -1)
    folded = torch.remainder(position, 2 * last)
    folded = torch.where(folded > last, 2 * last - folded, folded)
    low = folded.floor().long().clamp(0, last - 1)
    share = (folded - low).unsqueeze(-1)
    pick = low.unsqueeze(-1).expand(-1, -1, x.shape[2])
    return x.gather(1, pick) * (1 - share) + x.gather(1, pick + 1) * share


@register("transform", "time_stretch")
@dataclass(frozen=True)
class TimeStretch(Transform):
    """Play faster or slower without changing the pitch, around the middle of the segment; the ends are reflected.

    Args:
        max_octaves: largest change of tempo, in octaves (1 is double or half speed).

    Example:
        ``- {name: time_stretch, max_octaves: 0.5}``
    """

    max_octaves: float = 0.5
    domain = "mel"
    scope = "clip"
    moves_time = True

    def __post_init__(self) -> None:
        check_range("max_octaves", self.max_octaves, 0.0, 2.0, open_low=True)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        return {"octaves": rng.uniform(-self.max_octaves, self.max_octaves, size).astype(np.float32)}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        middle = (x.shape[1] - 1) / 2
        time = torch.arange(x.shape[1], device=x.device) - middle
        return read_at(x, middle + time * torch.exp2(params["octaves"]).unsqueeze(1))


@register("transform", "resize_crop")
@dataclass(frozen=True)
class ResizeCrop(Transform):
    """Random resized crop along time and, optionally, frequency (BYOL-A, section III-B); the default keeps pitch.

    Args:
        min_time: shortest crop, as a share of the segment.
        min_bands: narrowest crop, as a share of the mel bands; 1 keeps frequency, and with it pitch, unchanged.

    Example:
        ``- {name: resize_crop, min_time: 0.6}``
    """

    min_time: float = 0.6
    min_bands: float = 1.0
    domain = "mel"
    scope = "clip"
    moves_time = True

    def __post_init__(self) -> None:
        check_range("min_time", self.min_time, 0.0, 1.0, open_low=True)
        check_range("min_bands", self.min_bands, 0.0, 1.0, open_low=True)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        share = rng.uniform((self.min_time, self.min_bands), 1.0, (size, 2)).astype(np.float32)
        return {"share": share, "start": rng.random((size, 2)).astype(np.float32) * (1.0 - share)}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        for axis in range(1 if self.min_bands == 1.0 else 2):
            share, start = (params[key][:, axis : axis + 1] for key in ("share", "start"))
            place = torch.linspace(0.0, 1.0, x.shape[1 + axis], device=x.device)
            rows = x if axis == 0 else x.transpose(1, 2)
            rows = read_at(rows, (start + place * share) * (rows.shape[1] - 1))
            x = rows if axis == 0 else rows.transpose(1, 2)
        return x
