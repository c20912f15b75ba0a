"""Random music and single notes: MIDI drawn from a seed and rendered by FluidSynth."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from tqdm import tqdm

from ssltoolkit.errors import UserError

TICKS = 480  # per quarter note; 960 per second at 120 beats per minute
SCALES = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 4, 7, 9),
    (0, 3, 5, 6, 7, 10),
    (0, 2, 4, 6, 8, 10),
    tuple(range(12)),
)
DRUMS = 9  # percussion channel


class Note(NamedTuple):
    """One note: seconds, channel, MIDI number and velocity."""

    start: float
    seconds: float
    channel: int
    midi: int
    velocity: int


def write_midi(path: Path, programs: Dict[int, int], notes: Sequence[Note], end: float) -> None:
    """Write a one-track MIDI file: ``programs`` is channel -> program; the track ends at ``end`` seconds."""
    import mido

    track = mido.MidiTrack([mido.Message("program_change", channel=c, program=p) for c, p in programs.items()])
    ticks = TICKS * 2
    events = [(round(note.start * ticks), "note_on", note) for note in notes]
    events += [(round((note.start + note.seconds) * ticks), "note_off", note) for note in notes]
    now = 0
    for tick, kind, note in sorted(events, key=lambda event: (event[0], event[1])):
        velocity = note.velocity if kind == "note_on" else 0
        track.append(mido.Message(kind, channel=note.channel, note=note.midi, velocity=velocity, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, round(end * ticks) - now)))
    mido.MidiFile(type=0, ticks_per_beat=TICKS, tracks=[track]).save(path)


def play(midi: Path, wave: Path, soundfont: Path, rate: int, reverb: bool) -> None:
    """Render a MIDI file.

    Raises:
        UserError: FluidSynth failed.
    """
    effects = "1" if reverb else "0"
    command = [
        "fluidsynth",
        "-ni",
        "-q",
        "-R",
        effects,
        "-C",
        effects,
        "-r",
        str(rate),
        "-g",
        "0.6",
        "-F",
        str(wave),
        str(soundfont),
        str(midi),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not wave.is_file():
        raise UserError(f"fluidsynth failed on {midi}: {(done.stderr or done.stdout).strip()}")


def line(
    channel: int,
    scale: Sequence[int],
    low: int,
    high: int,
    beat: float,
    seconds: float,
    voices: int,
    rng: np.random.Generator,
) -> List[Note]:
    """A melody (``voices`` 1) or chords with random steps along a scale."""
    ladder = [midi for midi in range(low, high + 1) if midi % 12 in scale]
    place, position, notes = int(rng.integers(len(ladder))), float(rng.uniform(0, beat)), []
    while position < seconds - 0.2:
        length = beat * (0.25, 0.5, 0.5, 1.0, 1.0, 2.0)[rng.integers(6)]
        held = min(length * rng.uniform(0.4, 1.1), seconds - position)
        if rng.random() > 0.12:  # else a rest
            for step in range(voices):
                midi = ladder[min(place + 2 * step, len(ladder) - 1)]
                notes.append(Note(position, held, channel, midi, int(rng.integers(45, 125))))
        position += length
        place = int(np.clip(place + rng.integers(-4, 5), 0, len(ladder) - 1))
    return notes


def rhythm(beat: float, seconds: float, rng: np.random.Generator) -> List[Note]:
    """A random bar of percussion, repeated with small changes."""
    kit = rng.choice(np.arange(35, 82), size=rng.integers(2, 6), replace=False)
    pattern = [(slot, int(drum)) for drum in kit for slot in range(16) if rng.random() < rng.uniform(0.1, 0.4)]
    bars = int(seconds / (4 * beat))
    hits = [
        (bar * 4 * beat + slot * beat / 4, drum) for bar in range(bars) for slot, drum in pattern if rng.random() < 0.9
    ]
    return [Note(start, 0.1, DRUMS, drum, int(rng.integers(40, 125))) for start, drum in hits]


def piece(path: Path, programs: Sequence[int], seconds: float, rng: np.random.Generator) -> None:
    """Write a random piece with one to four instrument lines and, with probability 0.5, percussion."""
    beat, root = 60 / rng.uniform(60, 170), int(rng.integers(12))
    scale = [(step + root) % 12 for step in SCALES[rng.integers(len(SCALES))]]
    parts = int(rng.integers(1, 5))
    chosen = {channel: int(programs[rng.integers(len(programs))]) for channel in range(parts)}
    notes: List[Note] = []
    for channel in range(parts):
        low = int(rng.integers(30, 66))
        voices = 1 if rng.random() < 0.6 else int(rng.integers(2, 4))
        notes += line(channel, scale, low, low + int(rng.integers(14, 30)), beat, seconds, voices, rng)
    if rng.random() < 0.5:
        notes += rhythm(beat, seconds, rng)
    write_midi(path, chosen, notes, seconds)


def make_music(
    folder: Path, soundfont: Path, programs: Sequence[int], count: int, seconds: float, seed: int, nj: int
) -> Dict[str, str]:
    """Generate ``count`` pieces of ``seconds`` in ``folder``, 44.1 kHz stereo; returns id -> path."""
    folder.mkdir(parents=True, exist_ok=True)

    def one(index: int) -> Path:
        wave = folder / f"music-{index:05d}.wav"
        with tempfile.TemporaryDirectory() as scratch:
            midi = Path(scratch) / "piece.mid"
            piece(midi, programs, seconds, np.random.default_rng([seed, 71, index]))
            play(midi, wave, soundfont, 44100, reverb=index % 2 == 0)
        return wave

    with ThreadPoolExecutor(nj) as pool:
        made = pool.map(one, range(count))
        return {path.stem: str(path) for path in tqdm(made, total=count, desc="music", unit="piece", mininterval=1.0)}
