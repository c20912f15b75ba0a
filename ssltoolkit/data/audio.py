"""Audio of any format, rate and channel count to mono at one rate."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple, Union

import numpy as np

from ssltoolkit.errors import DataError

PathLike = Union[str, Path]

#: file name endings that libsndfile reads
EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".w64", ".rf64", ".caf")


def read_audio(path: PathLike, start: float = 0.0, end: Optional[float] = None) -> Tuple[np.ndarray, int]:
    """Read a file, or a stretch of it, as mono.

    Args:
        path: wav, flac, ogg, mp3, ... (whatever libsndfile reads).
        start: seconds.
        end: seconds, or None for the end of the file.

    Returns:
        (N,) float32, the mean of the channels, and the sample rate in Hz.

    Raises:
        DataError: missing, unreadable, empty, or with NaN or infinite samples.
    """
    import soundfile

    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        with soundfile.SoundFile(str(path)) as stream:
            rate = stream.samplerate
            first = int(round(start * rate))
            if first:
                stream.seek(min(first, stream.frames))
            wanted = -1 if end is None else max(0, int(round(end * rate)) - first)
            samples = stream.read(wanted, dtype="float32", always_2d=True)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        reason = str(error).split("\n")[0].replace(str(path), path.name)
        raise DataError(f"{path}: cannot be read as audio ({reason})") from None
    if samples.shape[0] == 0:
        raise DataError(f"{path}: no samples" + (f" between {start} and {end} s" if start or end else ""))
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise DataError(f"{path}: has NaN or infinite samples")
    return np.ascontiguousarray(mono, dtype=np.float32), rate


def resample(samples: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """(N,) float32 at ``rate`` Hz to ``target_rate`` Hz (soxr, high quality); at least one sample stays."""
    if rate == target_rate:
        return samples
    import soxr

    resampled = soxr.resample(samples, rate, target_rate, quality="HQ")
    return resampled if len(resampled) else samples[:1]


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Full-scale 1.0 to 16-bit, rounded and clipped; a 16-bit file comes back bit for bit."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
