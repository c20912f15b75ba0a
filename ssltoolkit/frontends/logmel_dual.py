"""Two resolutions: log-mel of short windows for timing, log-frequency bands of long windows for pitch."""

from __future__ import annotations

from typing import List, Literal, Optional, Tuple

import torch
from torch import Tensor

from ssltoolkit.errors import ParameterError, check_range
from ssltoolkit.exporting import exporting, pad_time
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.registry import register

#: coarse frames per fine frame
STEP = 4


@register("frontend", "logmel_dual")
class DualLogMel(LogMel):
    """``logmel`` and, concatenated, bands of equal width in semitones from longer windows, one fine frame per four
    coarse frames.

    Windows of 25 ms blur neighbouring semitones below about 1 kHz; windows of 128 ms separate them, but blur onsets.
    The features contain both: (B, T, n_mels + fine_bands), each fine frame repeated four times. On the fine bands a
    transposition is a shift, as on the constant-Q transform of PESTO (Riou et al. 2023). Band edges of both resolutions
    are divided by the same pitch ratio; transforms along frequency are applied to each resolution separately.

    Args:
        sample_rate: sample rate of the input, Hz.
        win_length: Hann window of the coarse bands, samples.
        hop_length: hop of the coarse frames, samples.
        n_fft: transform length of the coarse bands, samples, at least ``win_length``.
        n_mels: coarse mel bands.
        fine_win_length: Hann window of the fine bands, samples, at least four hops; the transform is twice as long.
        fine_bands: number of fine bands; ``fine_f_min`` and ``fine_per_semitone`` then determine the upper end.
        fine_per_semitone: fine bands per semitone.
        fine_f_min: lower edge of the lowest fine band, Hz.
        f_min: lowest edge of the coarse bands, Hz.
        f_max: highest edge of the coarse bands, Hz, at most half the sample rate.
        log_floor: added to the mel power before the logarithm.
        normalize: ``global``: one mean and deviation for the coarse and one for the fine bands; ``band``; ``none``.
        input_level: as in ``logmel``.

    Example:
        ``frontend: {name: logmel_dual, input_level: -20}``
    """

    frame_unit = STEP

    def __init__(
        self,
        sample_rate: int = 16000,
        win_length: int = 400,
        hop_length: int = 160,
        n_fft: int = 512,
        n_mels: int = 64,
        fine_win_length: int = 2048,
        fine_bands: int = 256,
        fine_per_semitone: int = 3,
        fine_f_min: float = 50.0,
        f_min: float = 60.0,
        f_max: float = 7800.0,
        log_floor: float = 1e-5,
        normalize: Literal["global", "band", "none"] = "global",
        input_level: Optional[float] = None,
    ) -> None:
        super().__init__(
            sample_rate, win_length, hop_length, n_fft, n_mels, f_min, f_max, log_floor, normalize, input_level
        )
        check_range("fine_win_length", fine_win_length, STEP * hop_length)
        check_range("fine_bands", fine_bands, 1, fine_win_length)
        check_range("fine_per_semitone", fine_per_semitone, 1)
        check_range("fine_f_min", fine_f_min, 0.0, open_low=True)
        self.fine_win_length, self.fine_bands, self.reach = fine_win_length, fine_bands, 2 * fine_win_length
        self.per_semitone = fine_per_semitone
        self.fine = LogMel(
            sample_rate, fine_win_length, STEP * hop_length, self.reach, fine_bands, f_min, f_max, log_floor
        )
        self.fine.use_bands(semitone_bands(fine_bands, fine_per_semitone, fine_f_min, 1.5 * sample_rate / self.reach))
        if self.fine.edges.max() > sample_rate / 2:
            raise ParameterError(
                "fine_bands",
                f"{fine_bands} bands from {fine_f_min:g} Hz end at {self.fine.edges.max():.0f} Hz, above half the "
                "sample rate",
            )
        # Scale the fine window so that noise has the same power per bin in both resolutions.
        self.fine.window.mul_((self.window.square().sum() / self.fine.window.square().sum()).sqrt())
        del self.fine.mean, self.fine.std
        self.n_mels = n_mels + fine_bands
        self.register_buffer("mean", torch.zeros(self.n_mels))
        self.register_buffer("std", torch.ones(self.n_mels))

    @property
    def parts(self) -> Tuple[int, int]:
        return (self.n_mels - self.fine_bands, self.fine_bands)

    @property
    def envelope_bands(self) -> Tuple[int, ...]:
        # Of a voice's harmonics the first two are furthest apart on an axis of semitones, an octave.
        return (super().envelope_bands[0], 24 * self.per_semitone)

    def power(self, wave: Tensor) -> Tuple[Tensor, Tensor]:
        """Power spectrograms (B, T, K) and (B, ceil(T / 4), K') of (B, N) waves in [-1, 1].

        Raises:
            ValueError: wrong shape, or fewer samples than a hop.
        """
        coarse = super().power(wave)
        blocks = (coarse.shape[1] + STEP - 1) // STEP
        missing = torch.sym_max(blocks * self.fine.hop_length - wave.shape[1], 0)
        fine = self.fine.power(pad_time(wave, missing) if exporting() or missing > 0 else wave)[:, :blocks]
        return coarse, fine

    def resolutions(self, power: Tuple[Tensor, Tensor], ratio: Optional[Tensor] = None) -> List[Tensor]:
        return [self.mel(power[0], ratio), self.fine.mel(power[1], ratio)]

    def joined(self, resolutions: List[Tensor]) -> Tensor:
        coarse, fine = resolutions
        return torch.cat([coarse, fine.repeat_interleave(STEP, dim=1)[:, : coarse.shape[1]]], dim=2)

    def finished(self, resolutions: List[Tensor], out: Tensor) -> Tensor:
        # Normalise fine frames before repeating them, and avoid a copy of all features.
        coarse, fine = resolutions
        bands = coarse.shape[-1]
        torch.sub(coarse, self.mean[:bands], out=coarse)
        torch.div(coarse, self.std[:bands], out=out[..., :bands])
        fine = (fine - self.mean[bands:]).div_(self.std[bands:])
        out[..., bands:] = fine.repeat_interleave(STEP, dim=1)[:, : coarse.shape[1]]
        return out


def semitone_bands(count: int, per_semitone: int, f_min: float, narrowest: float) -> Tensor:
    """Lower edges, centres and upper edges (3, M) in Hz of bands equally spaced in semitones.

    Triangles extend to the neighbours' centres, but at least ``narrowest`` Hz to either side: narrower ones could fall
    between the bins of the spectrum.
    """
    points = f_min * 2.0 ** (torch.arange(count + 2, dtype=torch.float64) / (12 * per_semitone))
    centre = points[1:-1]
    lower, upper = torch.minimum(points[:-2], centre - narrowest), torch.maximum(points[2:], centre + narrowest)
    return torch.stack([lower, centre, upper])
