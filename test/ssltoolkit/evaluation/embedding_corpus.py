"""Small embeddings and label directories for the evaluation and report tests."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ssltoolkit.evaluation.store import EmbeddingWriter

SPLITS = (("train", 48), ("valid", 24), ("test", 24))
LABELS = ("bell", "dog", "rain")
PITCHES = (48, 50, 60, 62)
HOP_MS = 40.0
FRAMES = 100


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def write_dir(path: Path, utts: Sequence[str], seconds: float = 4.0, **tables: Dict[str, str]) -> None:
    """Write ``wav.scp``, ``utt2dur`` and the given tables."""
    write_lines(path / "wav.scp", [f"{utt} /nowhere/{utt}.wav" for utt in utts])
    write_lines(path / "utt2dur", [f"{utt} {seconds}" for utt in utts])
    for name, table in tables.items():
        write_lines(path / name, [f"{utt} {table[utt]}" for utt in utts])


def _scene(rng: np.random.Generator, centre: np.ndarray, noise: float) -> np.ndarray:
    return (centre + noise * rng.normal(size=len(centre))).astype(np.float32)


def clip_corpus(root: Path, noise: float = 1.0, multilabel: bool = False, kind: str = "clip", model: str = "m") -> Path:
    """Write scene embeddings around class centres: ``root/data`` and ``root/embed``."""
    rng = np.random.default_rng(7)
    names = [str(p) for p in PITCHES] if kind == "pitch" else list(LABELS)
    centres = rng.normal(size=(len(names), 16))
    for split, count in SPLITS:
        utts = [f"{split}{i:03d}" for i in range(count)]
        chosen = {utt: [i % len(names)] for i, utt in enumerate(utts)}
        if multilabel:
            for i, utt in enumerate(utts):
                if i % 2:
                    chosen[utt].append((i + 1) % len(names))
        text = {utt: ",".join(names[c] for c in sorted(chosen[utt])) for utt in utts}
        write_dir(root / "data" / split, utts, **{"utt2pitch" if kind == "pitch" else "utt2label": text})
        with EmbeddingWriter(root / "embed" / split, "scene", 16, {"model": model, "model_hash": model}) as writer:
            for utt in utts:
                writer.add(utt, _scene(rng, centres[chosen[utt]].sum(axis=0), noise))
    return root


def sound_events(rng: np.random.Generator) -> List[Tuple[float, float, str]]:
    """Draw two or three events in 4 s."""
    onsets = np.sort(rng.uniform(0.2, 3.0, size=rng.integers(2, 4)))
    return [(round(float(t), 3), round(float(t) + rng.uniform(0.3, 0.8), 3), LABELS[rng.integers(3)]) for t in onsets]


def write_audio(path: Path, events: Sequence[Tuple[float, float, str]], seconds: float = 4.0) -> None:
    """Write noise with a tone for every event, at a frequency of its class."""
    import soundfile

    time = np.arange(int(seconds * 16000)) / 16000
    wave = 0.01 * np.random.default_rng(3).normal(size=len(time))
    for onset, offset, label in events:
        on = (time >= onset) & (time < offset)
        wave[on] += 0.2 * np.sin(2 * np.pi * (500 + 900 * LABELS.index(label)) * time[on])
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 16000)


def sed_corpus(root: Path, noise: float = 0.5, model: str = "m", splits: Optional[Sequence] = None) -> Path:
    """Write frame embeddings from which the active classes can be read; the test split has audio."""
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(len(LABELS), 16))
    times = HOP_MS * (np.arange(FRAMES) + 0.5)
    for split, count in splits or SPLITS:
        utts = [f"{split}{i:03d}" for i in range(count)]
        write_dir(root / "data" / split, utts)
        write_lines(root / "data" / split / "wav.scp", [f"{utt} {root / 'wav' / utt}.wav" for utt in utts])
        rows = ["utt_id\tonset\toffset\tlabel"]
        with EmbeddingWriter(root / "embed" / split, "frame", 16, {"model": model, "model_hash": model}) as writer:
            for utt in utts:
                frames = noise * rng.normal(size=(FRAMES, 16))
                events = sound_events(rng)
                if split == "test":
                    write_audio(root / "wav" / f"{utt}.wav", events)
                for onset, offset, label in events:
                    rows.append(f"{utt}\t{onset}\t{offset}\t{label}")
                    on = (times >= 1000 * onset) & (times < 1000 * offset)
                    frames[on] += centres[LABELS.index(label)]
                writer.add(utt, frames.astype(np.float32), times)
        write_lines(root / "data" / split / "events.tsv", rows)
    return root
