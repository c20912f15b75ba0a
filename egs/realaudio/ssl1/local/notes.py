"""The pitch task: single notes of a soundfont in NSynth's layout (``examples.json`` and ``audio/*.wav``), with held-out
instruments.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Dict, Iterator, Tuple

import music
import numpy as np
import soundfile
from holdout import PROGRAMS
from tqdm import tqdm

LOWEST, HIGHEST = 21, 108  # MIDI, the range of the piano; range and velocities as in NSynth
VELOCITIES = (25, 50, 75, 100, 127)
RATE, SECONDS, HELD = 16000, 2.0, 1.5
REVERB = 8  # index of this quality among NSynth's ten
SILENT = 1e-3  # peak level below which the instrument does not have the note
FAMILIES = (
    "piano",
    "chromatic_percussion",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "synth_lead",
    "synth_pad",
    "synth_effects",
    "ethnic",
    "percussive",
    "sound_effects",
)


def instrument_notes(
    program: int, reverb: bool, soundfont: Path, rng: np.random.Generator
) -> Iterator[Tuple[int, int, np.ndarray]]:
    """(MIDI number, velocity, wave) of every note of an instrument, with levels of -20 to -1 dB and noise 20 to 50 dB
    below.
    """
    wanted = [(midi, int(rng.choice(VELOCITIES))) for midi in range(LOWEST, HIGHEST + 1)]
    gap = SECONDS + 1.0  # the release of a note ends before the next note
    notes = [music.Note(gap * place, HELD, 0, midi, velocity) for place, (midi, velocity) in enumerate(wanted)]
    with tempfile.TemporaryDirectory() as scratch:
        midi_file, wave_file = Path(scratch) / "notes.mid", Path(scratch) / "notes.wav"
        music.write_midi(midi_file, {0: program}, notes, gap * len(notes))
        music.play(midi_file, wave_file, soundfont, RATE, reverb=reverb)
        wave = soundfile.read(wave_file, dtype="float32", always_2d=True)[0].mean(1)
    for place, (midi, velocity) in enumerate(wanted):
        first = int(gap * place * RATE)
        note = np.resize(wave[first : first + int(SECONDS * RATE)], int(SECONDS * RATE))
        if np.abs(note).max() < SILENT:
            continue
        note = note / np.abs(note).max() * 10 ** (rng.uniform(-20, -1) / 20)
        hiss = rng.standard_normal(len(note)) * np.std(note) * 10 ** (-rng.uniform(20, 50) / 20)
        yield midi, velocity, np.clip(note + hiss, -1, 1)


def describe(number: int, name: str, program: int, midi: int, velocity: int, reverb: bool) -> Dict[str, object]:
    """One entry of ``examples.json`` with NSynth's fields."""
    family = program // 8
    return {
        "note": number,
        "note_str": name,
        "instrument": program,
        "instrument_str": name.rsplit("-", 2)[0],
        "pitch": midi,
        "velocity": velocity,
        "sample_rate": RATE,
        "qualities": [int(reverb and place == REVERB) for place in range(10)],
        "qualities_str": ["reverb"] * reverb,
        "instrument_family": family,
        "instrument_family_str": FAMILIES[family],
        "instrument_source": 2,
        "instrument_source_str": "synthetic",
    }


def make_notes(folder: Path, form: str, split: str, soundfont: Path, seed: int) -> Path:
    """Write one split; returns its folder. A random third of the instruments has reverb."""
    target = folder / f"{form}-{split}"
    (target / "audio").mkdir(parents=True, exist_ok=True)
    examples: Dict[str, Dict[str, object]] = {}
    for program in tqdm(PROGRAMS[form][split], desc=f"notes {form} {split}", unit="instrument", mininterval=1.0):
        rng = np.random.default_rng([seed, 72, program])
        reverb = bool(rng.random() < 1 / 3)
        for midi, velocity, wave in instrument_notes(program, reverb, soundfont, rng):
            name = f"{FAMILIES[program // 8]}_synthetic_{program:03d}-{midi:03d}-{velocity:03d}"
            soundfile.write(target / "audio" / f"{name}.wav", wave, RATE, subtype="PCM_16")
            examples[name] = describe(len(examples), name, program, midi, velocity, reverb)
    silent = len(PROGRAMS[form][split]) * (HIGHEST - LOWEST + 1) - len(examples)
    if silent:
        print(f"{target}: left out {silent} notes that are silent in {soundfont.name}")
    (target / "examples.json").write_text(json.dumps(examples, indent=1, sort_keys=True) + "\n")
    return target
