"""Log-mel frontend with a warped mel bank for pitch ratios.

Shapes: B batch, N samples, T frames, K frequency bins (n_fft // 2 + 1), M mel bands.
"""

from __future__ import annotations

from typing import Any, List, Literal, Optional, Tuple

import torch
from torch import Tensor, nn

from ssltoolkit.errors import ParameterError, check_range
from ssltoolkit.exporting import exporting
from ssltoolkit.registry import REGISTRY

#: samples of windowed frames that a CPU transforms at once, so that they and their spectra fit into its cache
_BLOCK = 2**18
#: longer waves (samples) have their level measured in chunks
_LONG = 2**20
#: inputs below this level count as silence
SILENCE_DBFS = -76.0


def hz_to_mel(hz: Tensor) -> Tensor:
    """HTK mel scale: 2595 log10(1 + f / 700)."""
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def mel_to_hz(mel: Tensor) -> Tensor:
    """Inverse of :func:`hz_to_mel`."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@REGISTRY.base("frontend")
class Frontend(nn.Module):
    """Base class: waveform (B, N) to features (B, T, M). Subclasses define ``sample_rate``, ``hop_length`` (samples)
    and ``n_mels``, which is M.

    Attributes:
        parts: number of bands of each resolution, concatenated in the features; their sum is M.
        frame_unit: frames that are computed together. Features of a segment equal those of the whole audio if the
            segment starts at a multiple of this.
        reach: upper bound of the samples around a frame that it depends on.
        per_neper: what ``log`` adds for a factor e of the power: 1 for a natural logarithm. View transforms get
            natural logarithms.
    """

    sample_rate: int
    hop_length: int
    n_mels: int
    frame_unit: int = 1
    reach: int = 8192
    per_neper: float = 1.0

    @property
    def parts(self) -> Tuple[int, ...]:
        """One resolution by default."""
        return (self.n_mels,)

    @property
    def envelope_bands(self) -> Tuple[int, ...]:
        """Bands of each resolution over which log-mel is smoothed for the spectral envelope: wider than the distance
        between harmonics of a voice up to 200 Hz. Wider bands would lose the formants.
        """
        return tuple(max(2, bands // 8) for bands in self.parts)

    @property
    def hop_ms(self) -> float:
        """Milliseconds between frame centres."""
        return 1000.0 * self.hop_length / self.sample_rate

    def gain(self, wave: Tensor) -> Optional[Tensor]:
        """(B,) factors that scale waves (B, N) to the input level of the frontend; None for no scaling."""
        return None

    def leveled(self, wave: Tensor) -> Tensor:
        """Waves (B, N) scaled to the input level of the frontend."""
        gain = self.gain(wave)
        return wave if gain is None else wave * gain[:, None]

    def resolutions(self, power: Any, ratio: Optional[Tensor] = None) -> List[Tensor]:
        """Mel power of every resolution, each (B, frames, bands), from the output of :meth:`power`."""
        return [self.mel(power, ratio)]

    def joined(self, resolutions: List[Tensor]) -> Tensor:
        """Concatenate the resolutions, (B, T, M)."""
        return resolutions[0]

    def finished(self, resolutions: List[Tensor], out: Tensor) -> Tensor:
        """Normalise and concatenate log-mel of all resolutions into ``out`` (B, T, M); equals
        ``normalized(joined(resolutions))``.
        """
        return out.copy_(self.normalized(self.joined(resolutions)))


@REGISTRY.register("frontend", "logmel")
class LogMel(Frontend):
    """Log-compressed mel spectrogram, normalised by global statistics.

    Frame t is centred at (t + 0.5) * hop, and N samples give exactly N // hop frames (zero-padded at the ends), so
    0.96 s at 16 kHz is 96 frames. Method section of the paper: 25 ms window, 10 ms hop, 64 bands, 60 to 7800 Hz.

    Args:
        sample_rate: sample rate of the input, Hz.
        win_length: Hann window, samples.
        hop_length: samples.
        n_fft: transform length, samples, at least ``win_length``.
        n_mels: mel bands (HTK scale, triangles of height 1).
        f_min: lowest band edge, Hz.
        f_max: highest band edge, Hz, at most half the sample rate.
        log_floor: added to the mel power before the logarithm.
        normalize: ``global``: one mean and deviation for all bands; ``band``: one per band; ``none``.
        input_level: level in dBFS that the loudest 25 ms (``win_length``) of every input is scaled to, so that
            embeddings do not depend on the recording level; None for no scaling.

    Example:
        ``frontend: {name: logmel, n_mels: 64, normalize: global}``
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        win_length: int = 400,
        hop_length: int = 160,
        n_fft: int = 512,
        n_mels: int = 64,
        f_min: float = 60.0,
        f_max: float = 7800.0,
        log_floor: float = 1e-5,
        normalize: Literal["global", "band", "none"] = "global",
        input_level: Optional[float] = None,
    ) -> None:
        super().__init__()
        check_range("sample_rate", sample_rate, 1000)
        check_range("win_length", win_length, 1, n_fft)
        check_range("hop_length", hop_length, 1, win_length)
        check_range("n_mels", n_mels, 1, n_fft // 2)
        check_range("f_min", f_min, 0.0)
        if not f_min < f_max <= sample_rate / 2:
            raise ParameterError("f_max", f"must lie above f_min and at most at {sample_rate / 2:g} Hz, got {f_max!r}")
        check_range("log_floor", log_floor, 0.0, open_low=True)
        self.sample_rate, self.win_length, self.hop_length = sample_rate, win_length, hop_length
        self.n_fft, self.n_mels, self.log_floor, self.normalize = n_fft, n_mels, log_floor, normalize
        self.reach = n_fft
        if input_level is not None:
            check_range("input_level", input_level, -100.0, 0.0)
        self.input_level = input_level
        window = torch.zeros(n_fft)
        left = (n_fft - win_length) // 2
        window[left : left + win_length] = torch.hann_window(win_length)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bins", torch.linspace(0, sample_rate / 2, n_fft // 2 + 1), persistent=False)
        limits = hz_to_mel(torch.tensor([f_min, f_max], dtype=torch.float64))
        points = mel_to_hz(torch.linspace(limits[0].item(), limits[1].item(), n_mels + 2, dtype=torch.float64))
        edges = torch.stack([points[:-2], points[1:-1], points[2:]])  # lower, centre, upper: (3, M)
        self.use_bands(edges)
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("std", torch.ones(n_mels))

    def use_bands(self, edges: Tensor) -> None:
        """Use triangular bands with these lower edges, centres and upper edges (3, M), Hz."""
        self.register_buffer("edges", edges.float(), persistent=False)
        # Bands narrower than these, or than the distance between bins, may fall between the bins.
        # The factor keeps bands unchanged at ratio 1.
        self.narrowest = 0.999 * min(float(edges.diff(dim=0).min()), self.sample_rate / self.n_fft)
        self.register_buffer("bank", self._triangles(self.edges), persistent=False)
        self.groups = _groups(self.bank)

    def frame_count(self, n_samples: int) -> int:
        """Number of frames of ``n_samples``."""
        return n_samples // self.hop_length

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Use these log-mel statistics, each (M,); ``normalize`` decides how they are applied."""
        if mean.shape != (self.n_mels,) or std.shape != (self.n_mels,):
            raise ValueError(f"statistics have {tuple(mean.shape)} bands, this frontend has {self.n_mels}")
        applied = [self._applied(*part) for part in zip(mean.split(self.parts), std.split(self.parts))]
        self.mean.copy_(torch.cat([mean for mean, _ in applied]))
        self.std.copy_(torch.cat([std for _, std in applied]).clamp_min(1e-3))

    def _applied(self, mean: Tensor, std: Tensor) -> Tuple[Tensor, Tensor]:
        """Apply the mode ``normalize`` to one resolution's statistics."""
        if self.normalize == "global":
            # Deviation over all bands together: within-band variance plus the spread of the band means.
            total = (std.square() + mean.square()).mean() - mean.mean().square()
            return mean.mean().expand_as(mean), total.sqrt().expand_as(std)
        if self.normalize == "none":
            return torch.zeros_like(mean), torch.ones_like(std)
        return mean, std

    def gain(self, wave: Tensor) -> Optional[Tensor]:
        """(B,) factors that scale waves (B, N) to the input level; silence around a sound does not affect them.

        Inputs below -76 dBFS count as silence and are amplified no more than an input of -76 dBFS.
        """
        if self.input_level is None:
            return None
        return 10.0 ** (self.input_level / 20) / self._loudest(wave).sqrt().clamp_min(10.0 ** (SILENCE_DBFS / 20))

    def _loudest(self, wave: Tensor) -> Tensor:
        """(B,) largest mean power of ``win_length`` samples."""
        if exporting() or wave.shape[1] <= _LONG:
            padded = nn.functional.pad(wave.square(), (0, self.win_length)).unsqueeze(1)
            return nn.functional.avg_pool1d(padded, self.win_length, self.hop_length).amax(dim=(1, 2))
        # Compute the same means in chunks: copies of long audio would be larger than its features.
        windows, each = wave.shape[1] // self.hop_length + 1, _LONG // self.hop_length
        found = []
        for first in range(0, windows, each):
            last = min(first + each, windows)
            length = (last - first - 1) * self.hop_length + self.win_length
            part = wave[:, first * self.hop_length : first * self.hop_length + length].square()
            padded = nn.functional.pad(part, (0, length - part.shape[1])).unsqueeze(1)
            found.append(nn.functional.avg_pool1d(padded, self.win_length, self.hop_length).amax(dim=(1, 2)))
        return torch.stack(found).amax(dim=0)

    def power(self, wave: Tensor) -> Tensor:
        """Power spectrogram: (B, N) float in [-1, 1] to (B, T, K).

        Raises:
            ValueError: wrong shape, or fewer samples than a hop.
        """
        if wave.dim() != 2 or (not exporting() and wave.shape[1] < self.hop_length):
            raise ValueError(f"expected waves of shape (B, N) with N >= {self.hop_length}, got {tuple(wave.shape)}")
        frames = self.frame_count(wave.shape[1])
        left = (self.n_fft - self.hop_length) // 2
        right = (frames - 1) * self.hop_length + self.n_fft - left - wave.shape[1]
        padded = nn.functional.pad(wave, (left, torch.sym_max(right, 0)))
        framed = padded.unfold(1, self.n_fft, self.hop_length)[:, :frames]
        if exporting():
            return self._squared(framed)
        rows = max(1, _BLOCK // (frames * self.n_fft))
        if framed.device.type != "cpu" or len(framed) <= rows or (torch.is_grad_enabled() and wave.requires_grad):
            return self._squared(framed)
        power = framed.new_empty((len(framed), frames, self.n_fft // 2 + 1))
        for block, part in zip(framed.split(rows), power.split(rows)):
            self._squared(block, part)
        return power

    def _squared(self, framed: Tensor, out: Optional[Tensor] = None) -> Tensor:
        """Squared magnitudes of the spectra of frames (B, T, n_fft)."""
        real, imaginary = torch.view_as_real(torch.fft.rfft(framed * self.window)).unbind(-1)
        return torch.addcmul(real * real, imaginary, imaginary, out=out)

    def mel(self, power: Tensor, ratio: Optional[Tensor] = None) -> Tensor:
        """Mel power (B, T, M) of a power spectrogram (B, T, K), with all frequencies multiplied by ``ratio`` (B,).

        The spectrum of a sound transposed by r at frequency f is the original spectrum at f / r. So the edges of the
        mel bank are divided by r and applied to the same spectrogram, without a vocoder. Empty bands would reveal the
        ratio: bands above the Nyquist frequency read the highest band below it instead, and bands are kept wide enough
        to contain a bin.
        """
        if ratio is None:
            return self._banded(power)
        edges = self._warped(ratio)
        differentiated = torch.is_grad_enabled() and (power.requires_grad or ratio.requires_grad)
        if power.device.type != "cpu" or power.dtype is not torch.float32 or differentiated:
            return torch.bmm(power, self._triangles(edges))
        # Import only for transposition: numba takes a while to load, and compiles this in the first call on a machine.
        from ssltoolkit.frontends.warp import warped_mel

        return torch.from_numpy(warped_mel(power.detach().numpy(), self.bins.numpy(), edges.detach().numpy()))

    def _banded(self, power: Tensor) -> Tensor:
        """Multiply by the bank in groups of bands; each group reads only the bins that its bands overlap."""
        if power.device.type != "cpu" or exporting():
            return torch.matmul(power, self.bank)
        return torch.cat(
            [
                torch.matmul(power[..., low:high], self.bank[low:high, first:last])
                for first, last, low, high in self.groups
            ],
            dim=-1,
        )

    def log(self, mel: Tensor) -> Tensor:
        """Logarithm of mel power."""
        return (mel + self.log_floor).log_()

    def normalized(self, logmel: Tensor) -> Tensor:
        """Subtract the mean and divide by the deviation."""
        return (logmel - self.mean).div_(self.std)

    def logmel(self, wave: Tensor, ratio: Optional[Tensor] = None) -> Tensor:
        """(B, N) waves, optional pitch ratios (B,), to log-mel (B, T, M) before normalisation."""
        return self.joined([self.log(mel) for mel in self.resolutions(self.power(wave), ratio)])

    def forward(self, wave: Tensor, ratio: Optional[Tensor] = None) -> Tensor:
        """(B, N) waves, optional pitch ratios (B,), to normalised log-mel (B, T, M)."""
        return self.normalized(self.logmel(wave, ratio))

    def _warped(self, ratio: Tensor) -> Tensor:
        """Band edges (B, 3, M) for pitch ratios (B,)."""
        nyquist = self.sample_rate / 2
        scale = torch.maximum(ratio.to(self.edges)[:, None], self.edges[2] / nyquist)
        lower, centre, upper = (self.edges / scale[:, None, :]).unbind(1)
        return torch.stack(
            [torch.minimum(lower, centre - self.narrowest), centre, torch.maximum(upper, centre + self.narrowest)],
            dim=1,
        )

    def _triangles(self, edges: Tensor) -> Tensor:
        """Triangular filters (..., K, M) from their edges (..., 3, M) in Hz."""
        lower, centre, upper = (part.unsqueeze(-2) for part in edges.unbind(-2))
        bins = self.bins[:, None]
        rising = (bins - lower) / (centre - lower)
        falling = (upper - bins) / (upper - centre)
        return torch.minimum(rising, falling).clamp_min_(0.0)


#: adjacent bands per matrix product
_TOGETHER = 32


def _groups(bank: Tensor) -> List[Tuple[int, int, int, int]]:
    """(first band, last band + 1, first bin, last bin + 1) of groups of adjacent bands of a bank (K, M)."""
    groups = []
    for first in range(0, bank.shape[1], _TOGETHER):
        last = min(first + _TOGETHER, bank.shape[1])
        met = bank[:, first:last].any(1).nonzero().flatten().tolist() or [0]
        groups.append((first, last, met[0], met[-1] + 1))
    return groups


def statistics_of(total: Tensor, squares: Tensor, count: int) -> Tuple[Tensor, Tensor]:
    """Mean and deviation per band from sums (M,), sums of squares (M,) and the number of frames."""
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0.0).sqrt()
