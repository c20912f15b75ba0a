"""Transforms of level, background and spectral balance, which simulate recording conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.errors import ParameterError, check_range
from ssltoolkit.registry import register
from ssltoolkit.transforms.base import Params, Transform

_DB_TO_NEPER_POWER = np.log(10.0) / 10.0


def _check_interval(low_name: str, low: float, high_name: str, high: float) -> None:
    if not low <= high:
        raise ParameterError(high_name, f"must be at least {low_name}, got {high!r} < {low!r}")


@register("transform", "gain")
@dataclass(frozen=True)
class Gain(Transform):
    """Random level change, uniform in dB, applied to mel power.

    Args:
        low_db: smallest gain, dB.
        high_db: largest gain, dB.

    Example:
        ``- {name: gain, low_db: -10, high_db: 10}``
    """

    low_db: float = -12.0
    high_db: float = 12.0
    domain = "mel"
    scope = "clip"

    def __post_init__(self) -> None:
        check_range("low_db", self.low_db, -80.0, 80.0)
        check_range("high_db", self.high_db, -80.0, 80.0)
        _check_interval("low_db", self.low_db, "high_db", self.high_db)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        return {"db": rng.uniform(self.low_db, self.high_db, size).astype(np.float32)}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        return x * torch.exp(params["db"] * _DB_TO_NEPER_POWER)[:, None, None]


@register("transform", "white_noise")
@dataclass(frozen=True)
class WhiteNoise(Transform):
    """Gaussian noise added to the waveform (the paper's positive view: standard deviation 0.001).

    Args:
        std: standard deviation relative to full scale 1.

    Example:
        ``- {name: white_noise, std: 0.001}``
    """

    std: float = 0.001
    domain = "wave"
    scope = "noise"

    def __post_init__(self) -> None:
        check_range("std", self.std, 0.0, 1.0)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        return {}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        return x + self.std * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


@register("transform", "mix")
@dataclass(frozen=True)
class Mix(Transform):
    """Mix in another clip of the batch as background: its mel power is added at a random signal-to-noise ratio.

    Args:
        low_snr_db: smallest ratio of the clip's to the background's mean power, dB.
        high_snr_db: largest ratio, dB.
        probability: share of the clips that get a background.

    Example:
        ``- {name: mix, low_snr_db: 0, high_snr_db: 20, probability: 0.5}``
    """

    low_snr_db: float = 0.0
    high_snr_db: float = 20.0
    probability: float = 0.5
    domain = "mel"

    def __post_init__(self) -> None:
        check_range("low_snr_db", self.low_snr_db, -40.0, 80.0)
        check_range("high_snr_db", self.high_snr_db, -40.0, 80.0)
        _check_interval("low_snr_db", self.low_snr_db, "high_snr_db", self.high_snr_db)
        check_range("probability", self.probability, 0.0, 1.0)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        # Shift by a random non-zero amount, so that no clip is its own background (in a batch of one, none is mixed).
        shift = rng.integers(1, size, size) if size > 1 else np.zeros(size, dtype=np.int64)
        return {
            "partner": (np.arange(size) + shift) % size,
            "snr_db": rng.uniform(self.low_snr_db, self.high_snr_db, size).astype(np.float32),
            "mixed": (rng.random(size) < self.probability) & (size > 1),
        }

    def settle(self, x: Tensor, params: Dict[str, Tensor]) -> Dict[str, Tensor]:
        mean_power = x.mean(dim=(1, 2))
        partner = params["partner"]
        wanted = mean_power * torch.exp(-params["snr_db"] * _DB_TO_NEPER_POWER)
        scale = wanted / mean_power[partner].clamp_min(1e-10)
        # Cap the gain: otherwise the rounding noise of a silent background clip would be amplified to full level.
        return {**params, "scale": (scale * params["mixed"]).clamp_max(1e6)}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        scale = params["scale"] if "scale" in params else self.settle(x, params)["scale"]
        return torch.addcmul(x, scale[:, None, None], x[params["partner"]])


@register("transform", "filter")
@dataclass(frozen=True)
class Filter(Transform):
    """Random smooth equaliser: a curve in dB through a few random points along the mel axis.

    Args:
        max_db: largest boost or cut, dB.
        points: number of random points of the curve, evenly spaced over the bands.

    Example:
        ``- {name: filter, max_db: 6}``
    """

    max_db: float = 6.0
    points: int = 5
    domain = "log"
    scope = "clip"

    def __post_init__(self) -> None:
        check_range("max_db", self.max_db, 0.0, 60.0)
        check_range("points", self.points, 2, 64)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        return {"db": rng.uniform(-self.max_db, self.max_db, (size, self.points)).astype(np.float32)}

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        curve = torch.nn.functional.interpolate(
            params["db"][:, None], size=x.shape[2], mode="linear", align_corners=True
        )
        return x + curve * _DB_TO_NEPER_POWER
