"""Measurements of a sound: embeddings of the sound and of half-second windows, a thumbnail, duration and pitch."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Tuple

import numpy as np

from ssltoolkit.data.audio import read_audio, resample

#: length and hop of the windows, seconds
WINDOW, HOP = 0.48, 0.24
#: columns and rows of a thumbnail
THUMB = (96, 48)
_FFT = 1024
_PITCH_HZ = (50.0, 1000.0)
#: autocorrelation above which a frame counts as pitched; white noise stays below
_CLEAR = 0.8


class Sound(NamedTuple):
    """Scene (D,), windows (W, D') of float16, thumbnail (rows, columns) of uint8, seconds, Hz (NaN without pitch)."""

    scene: np.ndarray
    windows: np.ndarray
    thumb: np.ndarray
    seconds: float
    pitch: float


def measure(path: str, model: Any) -> Sound:
    """Read and embed one file; ``model`` comes from :func:`ssltoolkit.stages.embed.as_arrays`.

    Raises:
        DataError: the file cannot be read.
    """
    samples, rate = read_audio(path)
    seconds = len(samples) / rate
    wave = resample(samples, rate, model.sample_rate)
    windows = Windows(model.hop_ms)
    scenes = model.streamed(wave[None], lambda frames: windows.take(frames[0]))
    return Sound(scenes[0], windows.all(), thumbnail(wave), seconds, pitch_of(wave, model.sample_rate))


class Windows:
    """Streaming version of :func:`pooled`, so that the frames of an hour are never in memory at once.

    Example:
        >>> windows = Windows(hop_ms=40.0)
        >>> windows.take(np.zeros((20, 8), np.float32)), windows.take(np.zeros((30, 8), np.float32))
        (None, None)
        >>> windows.all().shape
        (8, 8)
    """

    def __init__(self, hop_ms: float) -> None:
        self._hop_ms, (self._length, self._step) = hop_ms, _window(hop_ms)
        self._done: List[np.ndarray] = []
        self._rest = np.zeros((0, 0), np.float32)

    def take(self, frames: np.ndarray) -> None:
        """Add the next frames (n, D)."""
        rest = np.concatenate([self._rest, frames]) if len(self._rest) else frames
        whole = max(0, (len(rest) - self._length) // self._step + 1)
        if whole:
            self._done.append(pooled(rest[: (whole - 1) * self._step + self._length], self._hop_ms))
        self._rest = rest[whole * self._step :].copy()

    def all(self) -> np.ndarray:
        """Means (W, D) float16 of all windows; the last window may be shorter."""
        if not self._done or len(self._rest) > self._length - self._step:
            return np.concatenate([*self._done, pooled(self._rest, self._hop_ms)])
        return np.concatenate(self._done)


def _window(hop_ms: float) -> Tuple[int, int]:
    """Length and hop of windows, in frames."""
    return max(1, round(WINDOW * 1000 / hop_ms)), max(1, round(HOP * 1000 / hop_ms))


def window_seconds(hop_ms: float) -> Tuple[float, float]:
    """Length and hop of windows in whole frames of a model, seconds; near ``WINDOW`` and ``HOP``.

    Example:
        >>> window_seconds(40.0), window_seconds(32.0)
        ((0.48, 0.24), (0.48, 0.256))
    """
    length, step = _window(hop_ms)
    return length * hop_ms / 1000, step * hop_ms / 1000


def pooled(frames: np.ndarray, hop_ms: float) -> np.ndarray:
    """Means of frames (T', D) over windows of :func:`window_seconds`, (W, D) float16; at least one window."""
    length, step = _window(hop_ms)
    starts = np.arange(0, max(1, len(frames) - length + step), step)
    total = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, axis=0, dtype=np.float64)])
    ends = np.minimum(starts + length, len(frames))
    return ((total[ends] - total[starts]) / (ends - starts)[:, None]).astype(np.float16)


def thumbnail(wave: np.ndarray, size: Tuple[int, int] = THUMB) -> np.ndarray:
    """Log spectrogram (rows, columns), low frequencies at the bottom, 0 to 255; cost is independent of the length."""
    columns, rows = size
    padded = np.pad(wave, (_FFT // 2, _FFT // 2))
    places = np.linspace(0, len(padded) - _FFT, 2 * columns).astype(int)
    framed = padded[places[:, None] + np.arange(_FFT)] * np.hanning(_FFT)
    power = np.abs(np.fft.rfft(framed)) ** 2
    power = power.reshape(columns, 2, -1).max(axis=1)
    # Rows are equally spaced in log frequency, from 1/64 of the Nyquist frequency.
    edges = np.unique(np.round(np.geomspace(_FFT // 128, _FFT // 2 + 1, rows + 1)).astype(int))
    bands = np.stack([power[:, low:high].mean(axis=1) for low, high in zip(edges[:-1], edges[1:])])
    level = 10 * np.log10(bands + 1e-10)
    shown = np.clip((level - level.max() + 70) / 70, 0, 1) if level.max() > -90 else np.zeros_like(level)
    index = np.linspace(0, len(shown) - 1, rows).round().astype(int)
    return (255 * shown[index[::-1]]).astype(np.uint8)


def pitch_of(wave: np.ndarray, rate: int) -> float:
    """Pitch (Hz) of a wave (N,): median over frames of the autocorrelation peak; NaN if few frames are pitched.

    Example:
        >>> round(pitch_of(np.sin(2 * np.pi * 440 * np.arange(16000) / 16000), 16000))
        444
    """
    size = rate * 64 // 1000
    if len(wave) < size:
        return float("nan")
    places = np.linspace(0, len(wave) - size, int(np.clip((len(wave) - size) // (size // 2) + 1, 1, 60))).astype(int)
    framed = wave[places[:, None] + np.arange(size)].astype(np.float64)
    framed -= framed.mean(axis=1, keepdims=True)
    energy = (framed**2).sum(axis=1)
    spectrum = np.fft.rfft(framed, 2 * size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, :size]
    # Fewer products contribute at long lags: normalise by their number.
    correlation = correlation * (size / (size - np.arange(size))) / np.maximum(energy, 1e-12)[:, None]
    low, high = int(rate / _PITCH_HZ[1]), min(int(rate / _PITCH_HZ[0]), size * 3 // 4)
    seen = correlation[:, low:high]
    # Use only local maxima: for low sounds, the slope from lag 0 can be higher than the maxima.
    tops = (seen > correlation[:, low - 1 : high - 1]) & (seen >= correlation[:, low + 1 : high + 1])
    seen = np.where(tops, seen, -1.0)
    peak = seen.max(axis=1)
    # Take the shortest lag that is nearly as high: the period, not a multiple of it.
    lag = low + (seen >= 0.95 * peak[:, None]).argmax(axis=1)
    clear = (peak > _CLEAR) & (energy > 0.05 * energy.max()) & (energy > 1e-6)
    return float(np.median(rate / lag[clear])) if clear.sum() >= max(1, len(places) // 8) else float("nan")
