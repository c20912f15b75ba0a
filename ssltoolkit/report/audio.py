"""Audio of an evaluated file, for its spectrogram."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Optional, Tuple

import kaldiio
import numpy as np

from ssltoolkit.data.audio import read_audio
from ssltoolkit.data.datadir import DataDir
from ssltoolkit.errors import DataError

WINDOW_S, HOP_S = 0.032, 0.01


def find_audio(meta: Mapping[str, Any], utt_id: str) -> Optional[Tuple[np.ndarray, int]]:
    """Samples (N,) and sample rate of a test file; None if the data directory or the audio no longer exists."""
    root = Path(meta["data_dir"])
    for folder in (root / "test", root):
        if (folder / "wav.scp").is_file():
            try:
                return _read(folder, utt_id)
            except (DataError, KeyError, OSError, ValueError):
                # The data may have been removed since the evaluation; the figure then says that audio is not found.
                return None
    return _read_hear(root, utt_id)


def _read(folder: Path, utt_id: str) -> Tuple[np.ndarray, int]:
    data = DataDir(folder)
    segment = data.segments()[utt_id]
    location = data.wav()[segment.recording]
    if location.rpartition(":")[2].isdigit():
        rate, samples = kaldiio.load_mat(location)
        return samples.astype(np.float32) / 32768.0, rate
    return read_audio(location, segment.start, None if segment.end < 0 else segment.end)


def _read_hear(root: Path, utt_id: str) -> Optional[Tuple[np.ndarray, int]]:
    for name in (utt_id, f"{utt_id}.wav"):
        for path in sorted(root.glob(f"[0-9]*/*/{name}")):
            return read_audio(path)
    return None


def spectrogram(samples: np.ndarray, rate: int) -> Tuple[np.ndarray, Tuple[float, float, float, float]]:
    """Power in dB below the loudest point, (frequencies, frames), and its extent (s, s, kHz, kHz)."""
    window, hop = int(WINDOW_S * rate), int(HOP_S * rate)
    padded = np.pad(samples, (window // 2, window // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    decibel = 10.0 * np.log10(np.maximum(power, 1e-12))
    half = hop / rate / 2
    return (decibel - decibel.max()).T, (-half, (len(frames) - 1) * hop / rate + half, 0.0, rate / 2000.0)
