"""SED on recorded events: twelve kinds of sound of open_sounds over ambiences of its source noice.

Mixtures as in soundscapes.py, after DCASE 2016 Task 2: training, validation and test hear other recordings of the same
kinds and other ambiences. An event lasts as long as its recording, 4 s at most."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
from kinds import labelled
from open_sounds import task_folder
from soundscapes import RATE, Background, Material, load, looped, write_mixtures

from ssltoolkit.data.audio import read_audio, resample
from ssltoolkit.data.datadir import Event
from ssltoolkit.data.recipes import Utterance
from ssltoolkit.data.scan import find_audio
from ssltoolkit.errors import UserError

#: kinds of kinds.py that are events: they differ to the ear and have a beginning, an end and 16 recordings or more
CLASSES = (
    "big_cat_beast",
    "crow_gull_parrot",
    "dog_wolf",
    "door_or_lid",
    "explosion",
    "glass_breaking",
    "insect",
    "laser",
    "man_in_pain",
    "metal_hit",
    "shot",
    "wood_hit",
)
#: split -> (share of a class's recordings: from, to; mixtures)
PLAN: Dict[str, Tuple[float, float, int]] = {
    "train": (0.0, 0.5, 96),
    "valid": (0.5, 0.65, 72),
    "test": (0.65, 1.0, 300),
}
#: split -> recordings of noice, named without the number of the piece
AMBIENCES: Dict[str, Tuple[str, ...]] = {
    "train": (
        "coffee_shop_0",
        "electric_car_0",
        "light_rain",
        "night_0",
        "office_0",
        "public_library_0",
        "soft_wind_0",
        "water_hose_0",
        "wind_in_palm_trees_0",
    ),
    "valid": ("airplane_inflight", "moderate_rain", "quiet_conversation_0"),
    "test": (
        "coffee_shop_1",
        "electric_car_1",
        "heavy_rain",
        "moving_train",
        "night_1",
        "office_1",
        "public_library_1",
        "soft_wind_1",
        "water_hose_1",
        "wind_in_palm_trees_1",
    ),
}
LONGEST = 4.0  # seconds of an event
_FADE = int(0.02 * RATE)


def events(found: Dict[str, Tuple[Path, str, int]], split: str) -> Dict[str, List[np.ndarray]]:
    """Class -> events of one split at 16 kHz. Prints how many recordings are left out as too short.

    Args:
        found: id -> (path, kind, fold), as of :func:`kinds.labelled`.

    Raises:
        UserError: a class has too few recordings to give each split one.
    """
    low, high, _ = PLAN[split]
    shots: Dict[str, List[np.ndarray]] = {}
    short = 0
    for name in CLASSES:
        paths = sorted(str(path) for path, kind, _ in found.values() if kind == name)
        lot = [paths[place] for place in np.random.default_rng(81).permutation(len(paths))]
        waves = [load(Path(path), LONGEST) for path in lot[round(low * len(lot)) : round(high * len(lot))]]
        shots[name] = [faded(wave) for wave in waves if wave is not None]
        short += len(waves) - len(shots[name])
        if not shots[name]:
            raise UserError(
                f"open_sounds: {len(paths)} recordings of {name} are too few for three splits; get it again"
            )
    total = sum(map(len, shots.values()))
    print(f"events {split}: {total} recordings of {len(shots)} classes; {short} of less than 30 ms left out")
    return shots


def faded(wave: np.ndarray) -> np.ndarray:
    """Fade out an event within its last 20 ms if it was cut at ``LONGEST``."""
    if len(wave) < int(LONGEST * RATE):
        return wave
    return np.concatenate([wave[:-_FADE], wave[-_FADE:] * np.linspace(1.0, 0.0, _FADE)])


def ambience(folder: Path, split: str) -> Background:
    """Background of one split: a random excerpt of one recording. Pieces ``NAME__p0``, ``NAME__p1``, ... are joined.

    Raises:
        UserError: a recording is missing.
    """
    pieces: Dict[str, List[Tuple[int, Path]]] = {}
    for _, path in find_audio(folder).items():
        name, number = re.fullmatch(r"(.*?)(?:__p(\d+))?", path.stem).groups()
        pieces.setdefault(name, []).append((int(number or 0), path))
    recordings = []
    for name in AMBIENCES[split]:
        if name not in pieces:
            raise UserError(f"{folder}: no recording {name}; the backgrounds of {split} are made from it")
        waves = [resample(*read_audio(path), RATE) for _, path in sorted(pieces[name])]
        recordings.append(np.concatenate(waves))

    def draw(count: int, rng: np.random.Generator) -> np.ndarray:
        wave = recordings[rng.integers(len(recordings))]
        if len(wave) > count:
            first = int(rng.integers(len(wave) - count))
            wave = wave[first : first + count]
        else:
            wave = looped(wave, count, int(rng.integers(len(wave))))
        return wave / (np.std(wave) + 1e-9)

    return draw


def make_events(root: Path, folder: Path, seed: int) -> Dict[str, Dict[str, Utterance]]:
    """Write the audio of all splits under ``folder``; split -> its utterances with their events.

    Args:
        root: folder of open_sounds.
        folder: folder for the generated audio.

    Raises:
        UserError: a collection or an ambience is missing, or a class has too few recordings.
    """
    found, noice = labelled(root)[0], task_folder(root, "noice", "recorded events")
    sets: Dict[str, Dict[str, Utterance]] = {}
    for split, (_, _, mixtures) in PLAN.items():
        material = Material(events(found, split), ambience(noice, split))
        made = write_mixtures(folder, material, mixtures, "events", split, seed)
        sets[split] = {
            utt: Utterance(Path(path), events=[Event(*event) for event in reference])
            for utt, (path, reference) in made.items()
        }
    return sets
