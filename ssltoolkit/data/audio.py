"""Reading of audio of any format, sample rate and channel count as mono at one rate."""

from __future__ import annotations

import contextlib
import functools
import io
import subprocess
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple, Union

import numpy as np

from ssltoolkit.data.containers import cut_off, has_stated_length, is_mpeg, with_audio_size
from ssltoolkit.data.contents import other_content
from ssltoolkit.data.mpeg import with_stated_length
from ssltoolkit.errors import DataError

PathLike = Union[str, Path]

#: file name endings that libsndfile reads
EXTENSIONS = (
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".mp2",
    ".mpga",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".snd",
    ".sph",
    ".voc",
    ".w64",
    ".rf64",
    ".caf",
)
#: file name endings of audio formats that it does not read
UNREAD_EXTENSIONS = (
    ".m4a",
    ".m4b",
    ".aac",
    ".ac3",
    ".eac3",
    ".dts",
    ".wma",
    ".webm",
    ".weba",
    ".mka",
    ".wv",
    ".ape",
    ".tta",
    ".tak",
    ".mpc",
    ".shn",
    ".alac",
    ".spx",
    ".amr",
    ".3ga",
    ".gsm",
    ".ra",
    ".dsf",
    ".dff",
)

#: sample rates outside this range indicate a damaged header
MIN_RATE, MAX_RATE = 1000, 768000
#: a segment may end this much after its recording, seconds (as Kaldi's extract-segments allows)
MAX_OVERSHOOT = 0.5
#: decoded samples of lossy formats are clipped at full scale up to this peak; a higher peak means that the source was
#: louder, and the audio is scaled instead
LOSSY_LIMIT = 2.0
#: samples of an MPEG frame; stated and decoded lengths may differ by less than this
_MPEG_FRAME = 1152


def read_audio(
    path: PathLike, start: float = 0.0, end: Optional[float] = None, notes: Optional[List[str]] = None
) -> Tuple[np.ndarray, int]:
    """Read a file, or a segment of it, as mono.

    If samples exceed full scale, which float files allow, the whole file is divided by its peak. Lossy files normally
    exceed it a little when decoded; up to 6 dB, their samples are clipped as players do.

    Args:
        path: wav, flac, ogg, mp3, ... (any format that libsndfile reads).
        start: seconds.
        end: seconds, or None for the end of the file.
        notes: list that receives a sentence about each change of the samples (levelled; a header without a length).

    Returns:
        (N,) float32 in [-1, 1], the mean of the channels, and the sample rate in Hz.

    Raises:
        DataError: missing, unreadable, truncated, empty, with NaN or infinite samples, or shorter than the segment.

    Example:
        >>> import soundfile
        >>> soundfile.write("a.wav", np.zeros((16000, 2)), 16000)
        >>> samples, rate = read_audio("a.wav", start=0.25)
        >>> samples.shape, rate
        ((12000,), 16000)
    """
    path, notes = Path(path), [] if notes is None else notes
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if not path.is_file():
            raise DataError(f"{path}: not a file")
        what = other_content(str(path))
        if what is not None:
            raise DataError(f"{path}: cannot be read as audio: it is {what}")
        reason = cut_off(str(path))
        if reason is not None:
            raise DataError(f"{path}: {reason}")
        with _opened(path, notes) as source:
            samples, rate, limit = _decoded(source, path, start, end)
        peak = _file_peak(path) if limit == 1.0 and (start or end is not None) else _magnitude(samples)
        return _levelled(samples, peak, limit, notes), rate
    except (OSError, ValueError) as error:  # no permission, or an invalid name
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read as audio ({reason})") from None


@contextlib.contextmanager
def _opened(path: Path, notes: List[str]) -> Iterator[Any]:
    """Source for soundfile: the file's descriptor, or its content with a repaired header that states its length."""
    repaired = with_audio_size(str(path))
    if repaired is not None:
        notes.append(f"its header states 0 bytes of audio; read to the end of the file ({path.stat().st_size} bytes)")
        yield repaired
        return
    stated = with_stated_length(str(path)) if is_mpeg(str(path)) else None
    if stated is not None:
        yield stated
        return
    # Pass a descriptor: given a path with a companion file ._NAME, libsndfile assumes Sound Designer II and reads that.
    with open(path, "rb") as stream:
        yield stream if has_companion(path) else str(path)


def has_companion(path: Path) -> bool:
    """Whether the file has a macOS companion ``._NAME``."""
    return any((path.parent / other).exists() for other in (f"._{path.name}", f".AppleDouble/{path.name}"))


def duration(path: PathLike) -> Optional[float]:
    """Seconds of audio according to the file's header; None if it cannot be read or does not state the length."""
    import soundfile

    path = Path(path)
    try:
        if is_mpeg(str(path)) and not has_stated_length(str(path)):
            return len(read_audio(path)[0]) / soundfile.info(str(path)).samplerate
        with _opened(path, []) as source, soundfile.SoundFile(source) as stream:
            return stream.frames / stream.samplerate if stream.samplerate else None
    except (RuntimeError, OSError, ValueError, TypeError, DataError):
        return None


def _file_peak(path: Path) -> float:
    status = path.stat()
    return _peak_of(str(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _peak_of(path: str, size: int, changed: int) -> float:
    """Peak of a file's mono mix; cached, because a recording may be read in many segments."""
    import soundfile

    peak = 0.0
    with _opened(Path(path), []) as source, soundfile.SoundFile(source) as stream:
        while True:
            block = stream.read(1 << 20, dtype="float32", always_2d=True)
            if not len(block):
                return peak
            peak = max(peak, float(np.abs(block.mean(axis=1)).max()))


def _magnitude(samples: np.ndarray) -> float:
    """Largest magnitude, without a copy of the samples: an hour is 230 MB."""
    return max(float(samples.max()), -float(samples.min()))


def _levelled(samples: np.ndarray, peak: float, limit: float, notes: List[str]) -> np.ndarray:
    """Bring ``samples`` within full scale, in place: divide by a peak above ``limit``, else clip."""
    if peak > limit:
        notes.append(f"levelled to full scale, its peak is {peak:.6g} times that")
        np.divide(samples, np.float32(peak), out=samples)
    return np.clip(samples, -1.0, 1.0, out=samples)


def read_command(
    command: str,
    start: float = 0.0,
    end: Optional[float] = None,
    timeout: float = 600.0,
    notes: Optional[List[str]] = None,
) -> Tuple[np.ndarray, int]:
    """Like :func:`read_audio`, for the standard output of a shell command (``sox a.mp3 -t wav - |``).

    Raises:
        DataError: the command failed, took longer than ``timeout`` seconds, or its output is not audio.
    """
    command = command.rstrip().rstrip("|")
    try:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{command!r}: cannot be run ({error})") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"{command!r}: failed with status {done.returncode}" + (f": {said[-1]}" if said else ""))
    samples, rate, limit = _decoded(io.BytesIO(done.stdout), f"output of {command!r}", 0.0, None)
    samples = _levelled(samples, _magnitude(samples), limit, [] if notes is None else notes)
    return _cut(samples, rate, start, end, f"output of {command!r}"), rate


def _cut(samples: np.ndarray, rate: int, start: float, end: Optional[float], name: str) -> np.ndarray:
    """Segment of decoded samples, with the same checks as in :func:`_decoded`."""
    if end is not None and start * rate < len(samples) < (end - MAX_OVERSHOOT) * rate:
        raise DataError(f"{name}: ends at {len(samples) / rate:.3f} s, the segment at {end:g} s")
    cut = samples[int(round(start * rate)) : None if end is None else int(round(end * rate))]
    if not len(cut):
        raise DataError(f"{name}: no samples between {start} and {end} s")
    return cut


def _decoded(source: Any, name: object, start: float, end: Optional[float]) -> Tuple[np.ndarray, int, float]:
    """Mono samples, sample rate, and the largest peak that is clipped instead of levelled."""
    import soundfile

    try:
        with soundfile.SoundFile(source) as stream:
            rate, total = stream.samplerate, stream.frames
            if not MIN_RATE <= rate <= MAX_RATE:
                raise DataError(f"{name}: a sample rate of {rate} Hz; the file is damaged")
            if end is not None and start * rate < total < (end - MAX_OVERSHOOT) * rate:
                raise DataError(f"{name}: ends at {total / rate:.3f} s, the segment at {end:g} s")
            first = int(round(start * rate))
            wanted = -1 if end is None else max(0, int(round(end * rate)) - first)
            samples = _stretch(stream, min(first, total), wanted)
            missing = total - len(samples) if wanted < 0 and not first else 0
            mpeg = stream.format in ("MP3", "MPEG")
            limit = 1.0 if stream.subtype in ("FLOAT", "DOUBLE") else LOSSY_LIMIT
    except (RuntimeError, OSError, ValueError, TypeError, MemoryError) as error:
        reason = str(error).split("\n")[0].replace(str(name), Path(str(name)).name)
        raise DataError(f"{name}: cannot be read as audio ({_short_reason(reason)})") from None
    if samples.shape[0] == 0:
        raise DataError(
            f"{name}: no samples"
            + (f" between {start} and {end} s" if start or end else f": its header states {total}")
        )
    if missing > (_MPEG_FRAME if mpeg else 0) and (not mpeg or (isinstance(source, str) and has_stated_length(source))):
        raise DataError(f"{name}: truncated: {len(samples)} samples, its header states {total}")
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise DataError(f"{name}: has NaN or infinite samples")
    return np.ascontiguousarray(mono, dtype=np.float32), rate, limit


def _short_reason(reason: str) -> str:
    """libsndfile's message, without its misleading text about pipes."""
    return "its content is not of a format that libsndfile supports" if "Format not recognised" in reason else reason


def _stretch(stream: Any, first: int, wanted: int) -> np.ndarray:
    """(N, channels) samples from ``first``: ``wanted`` samples, or all with -1. Some formats (GSM 6.10) cannot seek."""
    if stream.seekable():
        if first:
            stream.seek(first)
        return stream.read(wanted, dtype="float32", always_2d=True)
    blocks, position = [np.zeros((0, stream.channels), np.float32)], 0
    last = None if wanted < 0 else first + wanted
    while last is None or position < last:
        block = stream.read(1 << 16 if last is None else min(1 << 16, last - position), dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block[max(0, first - position) :])
        position += len(block)
    return np.concatenate(blocks)


def resample(samples: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """(N,) float32 at ``rate`` Hz to ``target_rate`` Hz (soxr, high quality); at least one sample remains.

    Example:
        >>> resample(np.zeros(44100, np.float32), 44100, 16000).shape
        (16000,)
    """
    if rate == target_rate:
        return samples
    import soxr

    resampled = soxr.resample(samples, rate, target_rate, quality="HQ")
    return resampled if len(resampled) else samples[:1]


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Convert full-scale 1.0 to 16-bit, rounded and clipped; samples of a 16-bit file are restored exactly.

    Example:
        >>> to_int16(np.array([0.5, 2.0], np.float32)).tolist()
        [16384, 32767]
    """
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
