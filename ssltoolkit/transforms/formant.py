"""Formant shift: the spectral envelope moves, the pitch stays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Callable

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.transforms.base import Params, Transform


@register("transform", "formant_shift")
@dataclass(frozen=True)
class FormantShift(Transform):
    """Multiply the frequencies of the spectral envelope by a random ratio at constant pitch, as if the resonating body
    (a vocal tract, a case) had another size.

    Vocal tract length perturbation (Jaitly and Hinton 2013) moves the harmonics as well. Here the log-mel is split into
    a smooth envelope and the rest, and only the envelope is taken from the transposed spectrogram. On mel bands (not on
    the fine bands of ``logmel_dual``) the lowest harmonics of voices above about 200 Hz lie so far apart that they move
    partly with the envelope.

    Args:
        max_shift: largest shift, semitones; 3 is a ratio of 0.84 to 1.19.

    Example:
        ``- {name: formant_shift, max_shift: 3}``
    """

    max_shift: float = 3.0
    domain = "envelope"
    scope = "clip"

    def __post_init__(self) -> None:
        check_range("max_shift", self.max_shift, 0.0, 12.0, open_low=True)

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        semitones = rng.uniform(-self.max_shift, self.max_shift, size)
        return {"semitones": semitones.astype(np.float32), "ratio": (2.0 ** (semitones / 12.0)).astype(np.float32)}


def with_envelope(mel: Tensor, other: Tensor, log: Callable[[Tensor], Tensor], width: int) -> Tensor:
    """Mel power (B, T, M) with the spectral envelope of ``other``, the same sounds at other frequencies.

    Args:
        mel: mel power.
        other: mel power of the same shape.
        log: natural logarithm of mel power with the frontend's floor.
        width: bands over which the log-mel is smoothed, :attr:`~ssltoolkit.frontends.logmel.Frontend.envelope_bands`.
    """
    change = torch.matmul(log(other) - log(mel), _smoothing(mel.shape[2], width).to(mel))
    return mel * change.exp_()


@lru_cache(maxsize=8)
def _smoothing(bands: int, width: int) -> Tensor:
    """(M, M) matrix that averages ``width`` bands with a Hann window; at the ends over the bands that there are."""
    position = torch.arange(bands, dtype=torch.float64)
    distance = (position[:, None] - position[None, :]).abs() * 2.0 / width
    weights = torch.where(distance < 1.0, 0.5 + 0.5 * torch.cos(torch.pi * distance), 0.0)
    return (weights / weights.sum(dim=0)).float()
