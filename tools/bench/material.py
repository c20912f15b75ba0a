"""Audio and data directories for the benchmarks, generated from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, Tuple

import numpy as np

from ssltoolkit.data.archive import append_to_ark

_BASES = 64


def waves(count: int, seconds: float, rate: int = 16000, seed: int = 0) -> Iterator[np.ndarray]:
    """``count`` clips of harmonic tones in noise, int16; after the first 64 they repeat with another offset."""
    time = np.arange(int(seconds * rate)) / rate
    bases: List[np.ndarray] = []
    rng = np.random.default_rng(seed)
    for index in range(count):
        if index < _BASES:
            f0 = 80.0 * 2.0 ** rng.uniform(0.0, 3.0)
            phase = 2 * np.pi * f0 * time + 2.0 * np.sin(2 * np.pi * rng.uniform(0.5, 6.0) * time)
            tone = sum(rng.uniform(0.2, 1.0) / k * np.sin(k * phase) for k in range(1, 5))
            wave = tone * (0.2 + np.abs(np.sin(2 * np.pi * rng.uniform(0.3, 3.0) * time)))
            wave = wave + 0.05 * rng.standard_normal(len(time))
            bases.append((wave / np.abs(wave).max() * 20000).astype(np.int16))
        yield np.roll(bases[index % _BASES], 0 if index < _BASES else int(rng.integers(len(time))))


def write_archive(folder: Path, count: int, seconds: float, rate: int = 16000) -> Path:
    """Write a directory in the format of stage 2, with one wave archive and its tables; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = (folder / "wav.00001.ark").resolve()
    places: List[Tuple[str, int, int]] = []
    with open(archive, "wb") as stream:
        for index, wave in enumerate(waves(count, seconds, rate)):
            utt = f"utt{index:06d}"
            places.append((utt, append_to_ark(stream, utt, (rate, wave)), len(wave)))
    (folder / "wav.scp").write_text("".join(f"{utt} {archive}:{offset}\n" for utt, offset, _ in places))
    (folder / "utt2num_samples").write_text("".join(f"{utt} {length}\n" for utt, _, length in places))
    return folder


def write_files(folder: Path, count: int, seconds: float, rate: int, extension: str) -> Path:
    """Write audio files and their data directory; returns it."""
    import soundfile

    (folder / "audio").mkdir(parents=True, exist_ok=True)
    lines = []
    for index, wave in enumerate(waves(count, seconds, rate)):
        path = folder / "audio" / f"utt{index:06d}.{extension}"
        soundfile.write(path, wave, rate)
        lines.append(f"utt{index:06d} {path}\n")
    (folder / "wav.scp").write_text("".join(lines))
    return folder
