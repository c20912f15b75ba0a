"""Time transforms of the mel spectrogram: tempo, and resized crops along time."""

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
    """

    max_octaves: float = 0.5
    domain = "mel"

    def __post_init__(self) -> None:
        check_range("max_octaves", self.max_octaves, 0.0, 2.0, open_low=True)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        return {"octaves": rng.uniform(-self.max_octaves, self.max_octaves, size).astype(np.float32)}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        middle = (x.shape[1] - 1) / 2
        time = torch.arange(x.shape[1], device=x.device) - middle
        return read_at(x, middle + time * torch.exp2(params["octaves"]).unsqueeze(1))


@register("transform", "time_crop")
@dataclass(frozen=True)
class TimeCrop(Transform):
    """Random resized crop along time only, so that pitch survives (BYOL-A's crop also resizes frequency).

    Args:
        min_share: shortest crop, as a share of the segment.
    """

    min_share: float = 0.6
    domain = "mel"

    def __post_init__(self) -> None:
        check_range("min_share", self.min_share, 0.0, 1.0, open_low=True)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        share = rng.uniform(self.min_share, 1.0, size).astype(np.float32)
        return {"share": share, "start": rng.random(size).astype(np.float32) * (1.0 - share)}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        place = torch.linspace(0.0, 1.0, x.shape[1], device=x.device)
        share, start = params["share"].unsqueeze(1), params["start"].unsqueeze(1)
        return read_at(x, (start + place * share) * (x.shape[1] - 1))
