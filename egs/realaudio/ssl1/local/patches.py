"""Sounds of a small synthesiser: random patches, each rendered several times with perturbed parameters.

Two renderings of a patch are different sounds of the same kind, which augmenting one recording cannot give
("Contrastive Learning from Synthetic Audio Doppelgaengers", Cherep and Singh 2024). A patch has up to three layers; a
layer is a source (harmonics, frequency modulation, noise or grains) with an envelope, a filter and amplitude
modulation."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

import numpy as np
import soundfile
from groups import make_groups
from scipy.signal import fftconvolve

RATE = 16000
#: standard deviation of a parameter's perturbation, as a share of its range
SPREAD = 0.08
#: parameter of a layer -> lowest and highest value; drawn on a logarithmic scale
RANGES: Dict[str, Tuple[float, float]] = {
    "pitch": (60.0, 2500.0),  # Hz
    "glide": (0.4, 2.5),  # last frequency over the first
    "vibrato": (0.001, 0.08),  # part of the frequency
    "vibrato_rate": (3.0, 12.0),  # Hz
    "slope": (0.3, 3.0),  # of the harmonics: amplitude 1 / n ** slope
    "odd": (0.05, 1.0),  # amplitude of even harmonics
    "ratio": (0.25, 7.0),  # modulator's frequency over the carrier's
    "index": (0.2, 12.0),  # of the modulation
    "grains": (4.0, 80.0),  # a second
    "grain_seconds": (0.002, 0.05),
    "centre": (150.0, 6500.0),  # of the filter, Hz
    "sweep": (0.25, 4.0),  # last centre over the first
    "width": (0.3, 4.0),  # of the filter, octaves
    "attack": (0.001, 0.4),  # s
    "decay": (0.03, 1.5),  # s to 1 / e
    "tremolo": (0.01, 1.0),  # depth
    "tremolo_rate": (1.0, 40.0),  # Hz
    "level": (0.1, 1.0),
}
SOURCES = ("harmonics", "modulation", "noise", "grains")


def value(name: str, place: float) -> float:
    """The value of a parameter at ``place``, from 0 to 1 in its range."""
    low, high = RANGES[name]
    return low * (high / low) ** float(np.clip(place, 0.0, 1.0))


def source(kind: str, layer: Dict[str, float], time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) float64, a layer before envelope and filter."""
    if kind == "noise":
        return rng.standard_normal(len(time))
    frequency = layer["pitch"] * layer["glide"] ** (time / time[-1])
    frequency = frequency * (1 + layer["vibrato"] * np.sin(2 * np.pi * layer["vibrato_rate"] * time))
    phase = 2 * np.pi * np.cumsum(frequency) / RATE + rng.uniform(0, 2 * np.pi)
    if kind == "modulation":
        return np.sin(phase + layer["index"] * np.sin(layer["ratio"] * phase))
    if kind == "grains":
        starts = rng.random(len(time)) < layer["grains"] / RATE
        length = max(8, int(layer["grain_seconds"] * RATE))
        grain = np.hanning(length) * np.sin(2 * np.pi * layer["pitch"] * np.arange(length) / RATE)
        return fftconvolve(starts * rng.uniform(0.3, 1.0, len(time)), grain)[: len(time)]
    wave = np.zeros(len(time))
    for number in range(1, 25):
        heard = number * frequency < RATE / 2 - 200  # no aliases
        if not heard.any():
            break
        amplitude = number ** -layer["slope"] * (layer["odd"] if number % 2 == 0 else 1.0)
        wave += heard * amplitude * np.sin(number * phase)
    return wave


def filtered(wave: np.ndarray, layer: Dict[str, float]) -> np.ndarray:
    """Band-pass the wave; the centre moves from first to last by crossfading two fixed filters."""
    spectrum = np.fft.rfft(wave)
    octaves = np.log2(np.fft.rfftfreq(len(wave), 1 / RATE).clip(20.0) / layer["centre"])
    ends = [
        np.fft.irfft(spectrum * np.exp(-0.5 * ((octaves - shift) / layer["width"]) ** 2), len(wave))
        for shift in (0.0, np.log2(layer["sweep"]))
    ]
    fade = np.linspace(0.0, 1.0, len(wave))
    return (1 - fade) * ends[0] + fade * ends[1]


def envelope(layer: Dict[str, float], time: np.ndarray) -> np.ndarray:
    """(N,) amplitude: attack, exponential decay, tremolo."""
    rise = np.minimum(1.0, time / layer["attack"])
    fall = np.exp(-np.maximum(0.0, time - layer["attack"]) / layer["decay"])
    swing = 1 - layer["tremolo"] * (0.5 + 0.5 * np.sin(2 * np.pi * layer["tremolo_rate"] * time))
    return rise * fall * swing


def render(index: int, take: int, seed: int) -> np.ndarray:
    """(N,) float32, take ``take`` of patch ``index``, 0.3 to 2 s at 16 kHz, largest sample 0.5."""
    patch, own = np.random.default_rng([seed, 77, index]), np.random.default_rng([seed, 78, index, take])
    seconds = 0.3 * (2.0 / 0.3) ** np.clip(patch.random() + SPREAD * own.standard_normal(), 0, 1)
    time = np.arange(int(seconds * RATE)) / RATE
    mixed = np.zeros(len(time))
    for _ in range(patch.integers(1, 4)):
        kind = SOURCES[patch.integers(len(SOURCES))]
        places = patch.random(len(RANGES)) + SPREAD * own.standard_normal(len(RANGES))
        layer = {name: value(name, place) for name, place in zip(RANGES, places)}
        wave = filtered(source(kind, layer, time, own), layer) * envelope(layer, time)
        mixed += layer["level"] * wave / max(1e-9, np.abs(wave).max())
    if patch.random() < 0.3:  # a room
        tail = own.standard_normal(int(0.4 * RATE)) * np.exp(-np.arange(int(0.4 * RATE)) / (0.08 * RATE))
        tail[0] = 8.0
        mixed = fftconvolve(mixed, tail)[: len(mixed)]
    return (0.5 * mixed / max(1e-9, np.abs(mixed).max())).astype(np.float32)


def make_patches(folder: Path, count: int, takes: int, seed: int, nj: int) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Generate ``count`` patches with ``takes`` renderings each in ``folder``.

    Returns:
        id -> path, and id -> patch, the group in ``utt2group``.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def write(index: int, take: int) -> Path:
        path = folder / f"patch-{index:05d}-{take}.wav"
        soundfile.write(path, render(index, take, seed), RATE)
        return path

    return make_groups(write, count, takes, nj, "patches")
