"""The SED task: soundscapes in the manner of DCASE 2016 Task 2, mixed from one-shots and textures that pre-training
never heard.

Training hears each one-shot alone and in mixtures; validation and test hear other one-shots of the same classes. Event
to background ratio -6, 0 or 6 dB; monophonic (events apart) or polyphonic (they may overlap)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
import soundfile
from holdout import BACKGROUNDS, EVENTS
from tqdm import tqdm

from ssltoolkit.data.audio import read_audio, resample
from ssltoolkit.data.scan import find_audio
from ssltoolkit.errors import UserError

RATE, SECONDS = 16000, 10.0
RATIOS_DB = (-6.0, 0.0, 6.0)
LONGEST = 2.0  # seconds of an event
#: split -> (share of a class's one-shots: from, to; mixtures)
PLAN = {"train": (0.0, 0.5, 48), "valid": (0.5, 0.65, 48), "test": (0.65, 1.0, 240)}
Events = List[Tuple[float, float, str]]
Background = Callable[[int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Material:
    """What one split is mixed from, waves at 16 kHz.

    Attributes:
        shots: class -> its events.
        behind: function of a number of samples and a generator that returns background of unit RMS.
    """

    shots: Dict[str, List[np.ndarray]]
    behind: Background


def load(path: Path, longest: float = LONGEST) -> Optional[np.ndarray]:
    """A sound at 16 kHz without the silence around it, cut at ``longest`` s; None where less than 30 ms remains."""
    wave, rate = read_audio(path)
    wave = resample(wave, rate, RATE)
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    if not len(loud):
        return None
    wave = wave[loud[0] : loud[-1] + 1][: int(longest * RATE)]
    return wave if len(wave) >= 0.03 * RATE else None


def one_shots(dirt_samples: Path, form: str) -> Dict[str, List[np.ndarray]]:
    """Class -> one-shots in a fixed order.

    Raises:
        UserError: a class has fewer than 4 usable files.
    """
    found: Dict[str, List[np.ndarray]] = {}
    for name in EVENTS[form]:
        waves = [load(path) for _, path in sorted(find_audio(dirt_samples / name).items())]
        found[name] = [wave for wave in waves if wave is not None]
        if len(found[name]) < 4:
            raise UserError(
                f"{dirt_samples / name}: {len(found[name])} usable one-shots; 4 or more are needed to split them"
            )
    return found


def textures(dirt_samples: Path, form: str) -> List[np.ndarray]:
    """Background recordings at 16 kHz."""
    waves = []
    for name in BACKGROUNDS[form]:
        for _, path in sorted(find_audio(dirt_samples / name).items()):
            wave, rate = read_audio(path)
            waves.append(resample(wave, rate, RATE))
    return waves


def looped(wave: np.ndarray, count: int, first: int) -> np.ndarray:
    """``count`` samples of a recording that is faded into itself, from sample ``first`` on."""
    window = np.sin(np.pi * (np.arange(len(wave)) + 0.5) / len(wave))
    layer, step = np.zeros(count + 2 * len(wave)), max(1, len(wave) // 2)
    for start in range(0, count + len(wave), step):
        layer[start : start + len(wave)] += wave * window
    return layer[first : first + count]


def background(count: int, recordings: List[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Coloured noise with two held-out textures, unit RMS."""
    frequency = np.fft.rfftfreq(count, 1 / RATE)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * (frequency + 30.0) ** -rng.uniform(0.3, 1.2), count)
    mixture = noise / np.std(noise)
    for _ in range(2):
        wave = recordings[rng.integers(len(recordings))]
        layer = looped(wave, count, int(rng.integers(len(wave))))
        mixture = mixture + layer / (np.std(layer) + 1e-9) * rng.uniform(0.2, 0.8)
    return mixture / np.std(mixture)


def placed(lengths: List[int], count: int, overlap: bool, rng: np.random.Generator) -> List[int]:
    """Start samples of events of these lengths; -1 where an event found no room beside the others."""
    taken: List[Tuple[int, int]] = []
    starts = []
    for length in lengths:
        choice = -1
        for _ in range(50):
            start = int(rng.integers(0, count - length))
            if overlap or all(start + length < low or high < start for low, high in taken):
                choice = start
                taken.append((start, start + length))
                break
        starts.append(choice)
    return starts


def mixture(
    index: int, shots: Dict[str, List[np.ndarray]], behind: Background, rng: np.random.Generator
) -> Tuple[np.ndarray, Events]:
    """A soundscape of 4 to 9 events; every combination of ratio and polyphony comes equally often."""
    ratio, overlap = RATIOS_DB[index % 3], index // 3 % 2 == 1
    count, names = int(SECONDS * RATE), sorted(shots)
    wave = behind(count, rng)
    chosen = [names[rng.integers(len(names))] for _ in range(rng.integers(4, 10))]
    sounds = [shots[name][rng.integers(len(shots[name]))] for name in chosen]
    events: Events = []
    for name, sound, start in zip(chosen, sounds, placed([len(sound) for sound in sounds], count, overlap, rng)):
        if start >= 0:
            wave[start : start + len(sound)] += sound / np.sqrt(np.mean(sound**2)) * 10 ** (ratio / 20)
            events.append((start / RATE, (start + len(sound)) / RATE, name))
    return wave / np.abs(wave).max() * 10 ** (rng.uniform(-12, -1) / 20), sorted(events)


def isolated(name: str, sound: np.ndarray, behind: Background, rng: np.random.Generator) -> Tuple[np.ndarray, Events]:
    """One event between half a second and a second of faint background on either side."""
    before, after = (int(rng.uniform(0.5, 1.0) * RATE) for _ in range(2))
    wave = behind(before + len(sound) + after, rng)
    wave[before : before + len(sound)] += sound / np.sqrt(np.mean(sound**2)) * 10 ** (rng.uniform(15, 30) / 20)
    return wave / np.abs(wave).max() * 10 ** (rng.uniform(-12, -1) / 20), [
        (before / RATE, (before + len(sound)) / RATE, name)
    ]


def dirt_material(dirt_samples: Path, form: str, split: str) -> Material:
    """One-shots and textures of dirt_samples; no one-shot is in two splits."""
    low, high, _ = PLAN[split]
    # The last one-shot before a boundary is in one split only, and each split has one at least.
    mine = {
        name: waves[round(low * len(waves)) : max(round(high * len(waves)), round(low * len(waves)) + 1)]
        for name, waves in one_shots(dirt_samples, form).items()
    }
    recordings = textures(dirt_samples, form)
    return Material(mine, lambda count, rng: background(count, recordings, rng))


def make_soundscapes(
    folder: Path, dirt_samples: Path, form: str, split: str, seed: int
) -> Dict[str, Tuple[str, Events]]:
    """Write one split's audio; id -> (path, events)."""
    material = dirt_material(dirt_samples, form, split)
    return write_mixtures(folder, material, PLAN[split][2], form, split, seed)


def write_mixtures(
    folder: Path, material: Material, mixtures: int, name: str, split: str, seed: int
) -> Dict[str, Tuple[str, Events]]:
    """Write ``mixtures`` soundscapes, and in training each event alone, under ``folder``; id -> (path, events)."""
    target = folder / f"{name}-{split}"
    target.mkdir(parents=True, exist_ok=True)
    jobs = [("mix", index) for index in range(mixtures)]
    if split == "train":
        jobs += [(label, index) for label, waves in material.shots.items() for index in range(len(waves))]
    made: Dict[str, Tuple[str, Events]] = {}
    for place, (kind, index) in enumerate(tqdm(jobs, desc=f"soundscapes {name} {split}", unit="clip", mininterval=1.0)):
        rng = np.random.default_rng([seed, 73, *name.encode(), *split.encode(), place])
        wave, events = (
            mixture(index, material.shots, material.behind, rng)
            if kind == "mix"
            else isolated(kind, material.shots[kind][index], material.behind, rng)
        )
        path = target / f"{split}-{kind}-{index:03d}.wav"
        soundfile.write(path, wave, RATE, subtype="PCM_16")
        made[path.stem] = (str(path), events)
    return made
