"""The log-mel of librosa and nnAudio, with which published weights were trained."""

from __future__ import annotations

import math
from typing import Literal, Optional

import torch
from torch import Tensor

from ssltoolkit.errors import check_range
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.registry import register

_HZ_PER_MEL, _BREAK_HZ, _LOG_STEP = 200.0 / 3.0, 1000.0, math.log(6.4) / 27.0


def hz_to_mel_slaney(hz: Tensor) -> Tensor:
    """Slaney's mel scale (Auditory Toolbox 1998): linear below 1 kHz, logarithmic above."""
    above = _BREAK_HZ / _HZ_PER_MEL + torch.log(hz.clamp_min(_BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return torch.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz_slaney(mel: Tensor) -> Tensor:
    """Inverse of :func:`hz_to_mel_slaney`."""
    start = _BREAK_HZ / _HZ_PER_MEL
    return torch.where(mel < start, mel * _HZ_PER_MEL, _BREAK_HZ * torch.exp(_LOG_STEP * (mel - start).clamp_min(0.0)))


@register("frontend", "logmel_slaney")
class SlaneyLogMel(LogMel):
    """Log-mel on Slaney's scale with triangles of equal area and fixed statistics, as published weights expect.

    Frames are those of ``logmel`` (centred at (t + 0.5) * hop), half a hop from librosa's.

    Args:
        sample_rate: sample rate of the input, Hz.
        win_length: Hann window, samples.
        hop_length: samples.
        n_fft: transform length, samples, at least ``win_length``.
        n_mels: mel bands.
        f_min: lowest band edge, Hz.
        f_max: highest band edge, Hz, at most half the sample rate.
        log: ``natural`` is log(mel + log_floor), ``decibel`` is 10 log10(max(mel, log_floor)).
        log_floor: see ``log``.
        mean: value to subtract; statistics of stage 3 do not replace it.
        std: value to divide by.

    Example:
        ``frontend: {name: logmel_slaney, n_mels: 64, log: decibel}``
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        win_length: int = 512,
        hop_length: int = 160,
        n_fft: int = 512,
        n_mels: int = 64,
        f_min: float = 50.0,
        f_max: float = 8000.0,
        log: Literal["natural", "decibel"] = "decibel",
        log_floor: float = 1e-10,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__(sample_rate, win_length, hop_length, n_fft, n_mels, f_min, f_max, log_floor, "none")
        check_range("std", std, 0.0, open_low=True)
        self.log_form = log
        self.per_neper = 1.0 if log == "natural" else 10.0 / math.log(10.0)
        limits = hz_to_mel_slaney(torch.tensor([f_min, f_max], dtype=torch.float64))
        points = mel_to_hz_slaney(torch.linspace(limits[0].item(), limits[1].item(), n_mels + 2, dtype=torch.float64))
        self.use_bands(torch.stack([points[:-2], points[1:-1], points[2:]]))
        self.register_buffer("height", (2.0 / (points[2:] - points[:-2])).float(), persistent=False)
        self.mean.fill_(mean)
        self.std.fill_(std)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Check only the shapes: the statistics are fixed."""
        if mean.shape != (self.n_mels,) or std.shape != (self.n_mels,):
            raise ValueError(f"statistics have {tuple(mean.shape)} bands, this frontend has {self.n_mels}")

    def mel(self, power: Tensor, ratio: Optional[Tensor] = None) -> Tensor:
        """Like :meth:`LogMel.mel`, with each band divided by half its width in Hz."""
        return super().mel(power, ratio) * self.height

    def log(self, mel: Tensor) -> Tensor:
        """Logarithm of mel power, natural or in decibels."""
        if self.log_form == "natural":
            return torch.log(mel + self.log_floor)
        return 10.0 * torch.log10(mel.clamp_min(self.log_floor))
