"""Fit the whitening of a frozen model to unlabelled audio."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Dict, Iterator, List, Union

import numpy as np
import torch
from tqdm import tqdm

from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.embedding.frozen import FrozenModel
from ssltoolkit.whitening import FEWEST, Whitening

#: largest number of clips, and longest excerpt of each in seconds
CLIPS, SECONDS = 4000, 8.0
#: excerpt lengths are rounded down to multiples of this many seconds, so that clips can be batched
GRAIN = 0.5
#: samples per batch
BATCH_SAMPLES = 16 * 16000
#: frames taken from each clip
FRAMES = 12


def fit_whitening(
    model: FrozenModel, data_dir: Union[str, Path], size: int, of_frames_too: bool = True
) -> Dict[str, Whitening]:
    """Fit the whitening of scene and frame embeddings.

    Embeds at most 8 s of up to 4,000 clips, drawn with a fixed seed, and takes twelve frames of each. The same model
    and data give the same numbers.

    Args:
        model: the model to fit for; its embeddings must not be whitened yet.
        data_dir: formatted directory (stage 2), for example the pre-training data. Labels are not read.
        size: number of directions to keep.
        of_frames_too: whiten frame embeddings too, not only scene embeddings.

    Returns:
        ``scene`` and ``frame`` whitening, the arguments of :meth:`FrozenModel.whiten`; empty if there are fewer than
        200 clips.

    Raises:
        UserError: damaged archives, or a different sample rate.

    Example::

        model.whiten(**fit_whitening(model, "dump/raw/pretrain", size=1024))
    """
    archive = WaveArchive(data_dir)
    archive.check_rate(model.sample_rate)
    if len(archive) < FEWEST:
        print(f"note: embeddings are not whitened: {data_dir} has {len(archive)} clips, at least {FEWEST} are needed")
        return {}
    device = next(model.buffers()).device
    rng = np.random.default_rng(0)
    scenes: List[np.ndarray] = []
    frames: List[np.ndarray] = []
    with tqdm(total=min(CLIPS, len(archive)), desc="whiten", unit="clip", mininterval=1.0) as bar:
        for waves in _excerpts(archive, model.sample_rate, rng):
            batch = torch.from_numpy(waves.astype(np.float32) / 32768.0).to(device)
            if of_frames_too:
                of_scenes, of_frames = (rows.cpu().numpy() for rows in model.both(batch))
                frames += [rows[np.sort(rng.permutation(len(rows))[:FRAMES])] for rows in of_frames]
            else:
                of_scenes = model.scenes(batch).cpu().numpy()
            scenes.append(of_scenes)
            bar.update(len(waves))
    rows = {"scene": np.concatenate(scenes), **({"frame": np.concatenate(frames)} if of_frames_too else {})}
    return {
        kind: Whitening.fitted(part, size, model.unwhitened_columns(kind), model.columns_apart(kind))
        for kind, part in rows.items()
    }


def _excerpts(archive: WaveArchive, sample_rate: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches (B, N) int16 of random excerpts of up to ``SECONDS``; all excerpts of a batch have the same length, so
    nothing is padded.
    """
    grain, longest = int(GRAIN * sample_rate), int(SECONDS * sample_rate)
    by_length: Dict[int, List[int]] = defaultdict(list)
    for index in rng.permutation(len(archive))[:CLIPS].tolist():
        length = min(int(archive.num_samples[index]), longest)
        by_length[max(length // grain * grain, min(length, grain))].append(index)
    for length, indices in sorted(by_length.items()):
        size = max(1, BATCH_SAMPLES // length)
        for first in range(0, len(indices), size):
            yield np.stack([_excerpt(archive, index, length, rng) for index in indices[first : first + size]])


def _excerpt(archive: WaveArchive, index: int, length: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(0, int(archive.num_samples[index]) - length + 1))
    return archive.read(index, start, length)
