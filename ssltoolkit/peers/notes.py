"""Direct evaluation of pitch estimators: compare the estimated note with the label, without a probe."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Union

import numpy as np
from tqdm import tqdm

from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.datadir import DataDir
from ssltoolkit.errors import UserError
from ssltoolkit.peers.base import Peer

PathLike = Union[str, Path]


def heard_note(hz: np.ndarray, confidence: np.ndarray) -> int:
    """The MIDI number nearest to the median pitch of the more confident half of the frames; -1 without any pitch.

    Args:
        hz, confidence: (T,).

    Example:
        >>> heard_note(np.array([440.0, 441.0, 100.0]), np.array([0.9, 0.9, 0.1]))
        69
    """
    kept = np.isfinite(hz) & (hz > 0)
    if not kept.any():
        return -1
    hz, confidence = hz[kept], confidence[kept]
    sure = confidence >= np.median(confidence)
    return int(round(69 + 12 * np.log2(np.median(hz[sure]) / 440)))


def score_notes(peer: Peer, data_dir: PathLike) -> Dict[str, float]:
    """Score a peer's pitch estimates, without a probe.

    Args:
        peer: peer with an :meth:`~ssltoolkit.peers.base.Peer.f0`.
        data_dir: formatted directory (stage 2) with ``utt2pitch``.

    Returns:
        ``pitch_acc`` and ``chroma_acc``, each with ``_low`` and ``_high`` of a 95 % bootstrap interval over files;
        and ``notes``, the number of notes.

    Raises:
        UserError: the peer does not estimate pitch.
    """
    archive, wanted = WaveArchive(data_dir), DataDir(data_dir).pitches()
    archive.check_rate(peer.sample_rate)
    right, octave = [], []
    for index, utt in enumerate(tqdm(archive.utt_ids, unit="note", desc=peer.name, mininterval=1.0)):
        found = peer.f0(archive.read(index).astype(np.float32) / 32768.0)
        if found is None:
            raise UserError(f"peer:{peer.name}: does not estimate pitch; evaluate its embedding")
        note = heard_note(found[1], found[2])
        right.append(note == int(wanted[utt]))
        octave.append((note - int(wanted[utt])) % 12 == 0)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(right), (1000, len(right)))
    scores = {}
    for name, values in (("pitch_acc", np.array(right, float)), ("chroma_acc", np.array(octave, float))):
        low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
        scores.update({name: values.mean(), f"{name}_low": low, f"{name}_high": high})
    return {**scores, "notes": len(right)}
