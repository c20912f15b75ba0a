"""Audio of any format, rate and channel count to mono at one rate."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any, Optional, Tuple, Union

import numpy as np

from ssltoolkit.data.containers import cut_off, has_stated_length, is_mpeg
from ssltoolkit.data.mpeg import with_stated_length
from ssltoolkit.errors import DataError

PathLike = Union[str, Path]

#: file name endings that libsndfile reads
EXTENSIONS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga", ".aif", ".aiff", ".aifc", ".au", ".snd", ".sph", ".voc",
    ".w64", ".rf64", ".caf",
)  # fmt: skip
#: endings of audio that it does not read
UNREAD_EXTENSIONS = (
    ".m4a", ".m4b", ".aac", ".ac3", ".eac3", ".dts", ".wma", ".webm", ".weba", ".mka", ".wv", ".ape", ".tta", ".tak", ".mpc",
    ".shn", ".alac", ".spx", ".amr", ".3ga", ".gsm", ".ra", ".dsf", ".dff",
)  # fmt: skip

#: sample rates beyond these are those of a damaged header
MIN_RATE, MAX_RATE = 1000, 768000
#: a segment may end this much after its recording, seconds (as Kaldi's extract-segments allows)
MAX_OVERSHOOT = 0.5
#: samples of an MPEG frame; lengths that a file states may differ from what is decoded by less
_MPEG_FRAME = 1152


def read_audio(path: PathLike, start: float = 0.0, end: Optional[float] = None) -> Tuple[np.ndarray, int]:
    """Read a file, or a stretch of it, as mono.

    Args:
        path: wav, flac, ogg, mp3, ... (whatever libsndfile reads).
        start: seconds.
        end: seconds, or None for the end of the file.

    Returns:
        (N,) float32, the mean of the channels, and the sample rate in Hz.

    Raises:
        DataError: missing, unreadable, truncated, empty, with NaN or infinite samples, or shorter than the stretch.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if not path.is_file():
            raise DataError(f"{path}: not a file")
        with open(path, "rb"):
            pass
        reason = cut_off(str(path))
        if reason is not None:
            raise DataError(f"{path}: {reason}")
        return _decoded((is_mpeg(str(path)) and with_stated_length(str(path))) or str(path), path, start, end)
    except (OSError, ValueError) as error:  # no permission, a name that no file can have
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read as audio ({reason})") from None


def read_command(command: str, start: float = 0.0, end: Optional[float] = None, timeout: float = 600.0) -> Tuple[np.ndarray, int]:
    """Like :func:`read_audio`, of what a shell command writes to its standard output (``sox a.mp3 -t wav - |``).

    Raises:
        DataError: the command failed, took longer than ``timeout`` seconds, or wrote something that is no audio.
    """
    command = command.rstrip().rstrip("|")
    try:
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{command!r}: cannot be run ({error})") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"{command!r}: failed with status {done.returncode}" + (f": {said[-1]}" if said else ""))
    return _decoded(io.BytesIO(done.stdout), f"output of {command!r}", start, end)


def _decoded(source: Any, name: object, start: float, end: Optional[float]) -> Tuple[np.ndarray, int]:
    import soundfile

    try:
        with soundfile.SoundFile(source) as stream:
            rate, total = stream.samplerate, stream.frames
            if not MIN_RATE <= rate <= MAX_RATE:
                raise DataError(f"{name}: a sample rate of {rate} Hz; the file is damaged")
            if end is not None and start * rate < total < (end - MAX_OVERSHOOT) * rate:
                raise DataError(f"{name}: ends at {total / rate:.3f} s, the segment at {end:g} s")
            first = int(round(start * rate))
            if first:
                stream.seek(min(first, total))
            wanted = -1 if end is None else max(0, int(round(end * rate)) - first)
            samples = stream.read(wanted, dtype="float32", always_2d=True)
            missing = total - len(samples) if wanted < 0 and not first else 0
            mpeg = stream.format in ("MP3", "MPEG")
    except (RuntimeError, OSError, ValueError, TypeError, MemoryError) as error:
        reason = str(error).split("\n")[0].replace(str(name), Path(str(name)).name)
        raise DataError(f"{name}: cannot be read as audio ({reason})") from None
    if samples.shape[0] == 0:
        raise DataError(f"{name}: no samples" + (f" between {start} and {end} s" if start or end else ""))
    if missing > (_MPEG_FRAME if mpeg else 0) and (not mpeg or (isinstance(source, str) and has_stated_length(source))):
        raise DataError(f"{name}: truncated: {len(samples)} samples, its header states {total}")
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise DataError(f"{name}: has NaN or infinite samples")
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
