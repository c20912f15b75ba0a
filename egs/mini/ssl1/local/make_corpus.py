"""Generate the mini corpus from a seed: an unlabelled pre-training set, and clip, SED and pitch tasks.

Layout: ``OUT/audio/*/*.flac`` and Kaldi-style directories ``OUT/{pretrain,pretrain_valid}`` and
``OUT/{clip,sed,pitch}/{train,valid,test}``. Everything in a test set is synthesised with parameters that no training
set has; instruments of the pitch task are held out whole."""

from __future__ import annotations

import argparse
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
import soundfile
import synth
from tqdm import tqdm

LOWEST, HIGHEST = 36, 83  # MIDI
SIZES = {
    "pretrain": 1200,
    "pretrain_valid": 128,
    "clip": (500, 150, 300),
    "sed": (60, 20, 50),
    "pitch": (144, 192, 288),
}
INSTRUMENTS = {"train": 3, "valid": 4, "test": 8}
Made = Tuple[np.ndarray, Dict[str, object]]
Maker = Callable[[int, synth.Rng], Made]


def mixed(foreground: np.ndarray, snr_db: float, rng: synth.Rng) -> np.ndarray:
    """Add a background to ``foreground``, which contains a sound at a random position, and set the level."""
    behind = synth.background(len(foreground) / synth.RATE, rng)
    wave = synth.level(foreground, 0.0) + synth.db(-snr_db) * behind
    return wave / np.max(np.abs(wave)) * synth.db(rng.uniform(-20, -1))


def single_event(name: str, seconds: float, low_snr: float, rng: synth.Rng) -> np.ndarray:
    """One event at a random position in a background."""
    sound = synth.event(name, rng)[: int(seconds * synth.RATE)]
    wave = np.zeros(int(seconds * synth.RATE))
    start = rng.integers(0, len(wave) - len(sound) + 1)
    wave[start : start + len(sound)] = sound
    return mixed(wave, rng.uniform(low_snr, 20), rng)


def soundscape(index: int, rng: synth.Rng, seconds: float) -> Made:
    """Several events, which may overlap, over one background; events at -3 to 15 dB over it."""
    wave = synth.background(seconds, rng)
    events: List[Tuple[float, float, str]] = []
    names = list(synth.EVENTS)
    for _ in range(rng.integers(3, 8)):
        name = names[rng.integers(len(names))]
        sound = synth.level(synth.event(name, rng), rng.uniform(-3, 15))
        start = rng.integers(0, len(wave) - len(sound))
        wave[start : start + len(sound)] += sound
        events.append((start / synth.RATE, (start + len(sound)) / synth.RATE, name))
    wave *= synth.db(rng.uniform(-15, -1)) / np.max(np.abs(wave))
    return wave, {"events": sorted(events)}


def phrase(instrument: synth.Instrument, seconds: float, rng: synth.Rng) -> np.ndarray:
    """A short melody of one instrument with a quiet background."""
    wave = np.zeros(int(seconds * synth.RATE))
    position, midi = rng.uniform(0, 0.2), rng.integers(LOWEST, HIGHEST + 1)
    while position < seconds - 0.15:
        length = min(rng.choice([0.2, 0.3, 0.45, 0.8]), seconds - position)
        sound = instrument.note(midi, length, rng) * rng.uniform(0.5, 1)
        start = int(position * synth.RATE)
        wave[start : start + len(sound)] += sound[: len(wave) - start]
        position += length * rng.uniform(0.8, 1.3)
        midi = int(np.clip(midi + rng.integers(-7, 8), LOWEST, HIGHEST))
    return mixed(wave, rng.uniform(15, 45), rng)


def unlabelled(index: int, rng: synth.Rng, instruments: List[synth.Instrument]) -> Made:
    """One pre-training clip: an event, a melody or a soundscape."""
    kind = rng.integers(3)
    if kind == 0:
        return single_event(list(synth.EVENTS)[rng.integers(len(synth.EVENTS))], rng.uniform(1.2, 2.5), 0, rng), {}
    if kind == 1:
        return phrase(instruments[rng.integers(len(instruments))], rng.uniform(1.5, 3), rng), {}
    return soundscape(index, rng, rng.uniform(2.5, 4))[0], {}


def clip(index: int, rng: synth.Rng) -> Made:
    """One clip of a class."""
    name = list(synth.EVENTS)[index % len(synth.EVENTS)]
    return single_event(name, 1.6, -3, rng), {"label": name}


def pitched(index: int, rng: synth.Rng, instruments: List[synth.Instrument]) -> Made:
    """One note of one instrument."""
    midi = LOWEST + index % (HIGHEST - LOWEST + 1)
    wave = instruments[rng.integers(len(instruments))].note(midi, 1.0, rng)
    return mixed(wave, rng.uniform(5, 35), rng), {"pitch": midi}


def write_clip(path: Path, make: Maker, seed: List[int], index: int) -> Dict[str, object]:
    """Synthesise and write clip ``index`` of a set; returns its labels."""
    wave, truth = make(index, np.random.default_rng([*seed, index]))
    soundfile.write(path, np.clip(wave, -1, 1), synth.RATE, subtype="PCM_16")
    return truth


def write_set(out: Path, name: str, count: int, make: Maker, seed: List[int], pool: ProcessPoolExecutor) -> None:
    """Synthesise ``count`` clips and write the data directory ``out/name``."""
    prefix = name.replace("/", "-")
    audio, data = out / "audio" / prefix, out / name
    for folder in (audio, data):
        folder.mkdir(parents=True, exist_ok=True)
    rows: Dict[str, List[str]] = {"wav.scp": [], "utt2label": [], "utt2pitch": [], "events.tsv": []}
    utts = [f"{prefix}-{index:05d}" for index in range(count)]
    paths = [audio / f"{utt}.flac" for utt in utts]
    truths = pool.map(write_clip, paths, repeat(make), repeat(seed), range(count), chunksize=8)
    for utt, path, truth in tqdm(zip(utts, paths, truths), total=count, desc=name, unit="clip", mininterval=1.0):
        rows["wav.scp"].append(f"{utt} {path.resolve()}")
        if "label" in truth:
            rows["utt2label"].append(f"{utt} {truth['label']}")
        if "pitch" in truth:
            rows["utt2pitch"].append(f"{utt} {truth['pitch']}")
        for onset, offset, label in truth.get("events", ()):
            rows["events.tsv"].append(f"{utt}\t{onset:.4f}\t{offset:.4f}\t{label}")
    if rows["events.tsv"]:
        rows["events.tsv"].insert(0, "utt_id\tonset\toffset\tlabel")
    for file, lines in rows.items():
        if lines:
            (data / file).write_text("".join(line + "\n" for line in lines))


def sets(scale: float, seed: int) -> List[tuple]:
    """(name, number of clips, maker, seed) of every set."""

    def band(split: str, stream: int) -> List[synth.Instrument]:
        return [synth.Instrument.draw(np.random.default_rng([seed, 90, stream, k])) for k in range(INSTRUMENTS[split])]

    def scaled(size: int, least: int) -> int:
        return max(least, int(size * scale))

    free = [synth.Instrument.draw(np.random.default_rng([seed, 91, k])) for k in range(40)]
    jobs = [
        (name, scaled(SIZES[name], 8), partial(unlabelled, instruments=free), [seed, 1 + k])
        for k, name in enumerate(("pretrain", "pretrain_valid"))
    ]
    for k, split in enumerate(("train", "valid", "test")):
        players = band(split, k)
        jobs.append((f"clip/{split}", scaled(SIZES["clip"][k], 2 * len(synth.EVENTS)), clip, [seed, 10 + k]))
        jobs.append((f"sed/{split}", scaled(SIZES["sed"][k], 4), partial(soundscape, seconds=6.0), [seed, 20 + k]))
        jobs.append(
            (
                f"pitch/{split}",
                scaled(SIZES["pitch"][k], HIGHEST - LOWEST + 1),
                partial(pitched, instruments=players),
                [seed, 30 + k],
            )
        )
    return jobs


def main(argv: Optional[List[str]] = None) -> int:
    """Write the whole corpus, unless it already exists with this seed and scale."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out_dir", required=True, type=Path, help="output folder")
    options.add_argument("--seed", type=int, default=0, help="seed of all sounds")
    options.add_argument("--scale", type=float, default=1.0, help="size relative to the standard corpus")
    options.add_argument("--nj", type=int, default=1, help="parallel processes; the sounds do not depend on it")
    args = options.parse_args(argv)
    if not 0 < args.scale <= 1000 or args.seed < 0 or args.nj < 1:
        print(
            "make_corpus.py: error: --scale must lie in (0, 1000], --seed be at least 0 and --nj at least 1",
            file=sys.stderr,
        )
        return 2
    done, wanted = (
        args.out_dir / ".done",
        f"seed {args.seed} scale {args.scale} sizes {SIZES} instruments {INSTRUMENTS}\n",
    )
    if done.is_file() and done.read_text() == wanted:
        print(f"{args.out_dir}: already there (seed {args.seed}, scale {args.scale})")
        return 0
    for folder in ("audio", "pretrain", "pretrain_valid", "clip", "sed", "pitch"):
        shutil.rmtree(args.out_dir / folder, ignore_errors=True)
    with ProcessPoolExecutor(args.nj) as pool:
        for name, count, make, seed in sets(args.scale, args.seed):
            write_set(args.out_dir, name, count, make, seed, pool)
    done.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
