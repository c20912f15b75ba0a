"""Fit the whitening of a frozen model to unlabelled audio."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Union

import numpy as np
import torch
from tqdm import tqdm

from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.embedding import FrozenModel, from_checkpoint
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint
from ssltoolkit.whitening import FEWEST, Whitening

#: clips that are looked at, at most, and seconds of each
CLIPS, SECONDS = 4000, 8.0
#: frames of each clip
FRAMES = 12


def fit_whitening(model: FrozenModel, data_dir: Union[str, Path], size: int, of_frames_too: bool = True) -> Dict[str, Whitening]:
    """The whitening of scene and of frame embeddings.

    Of up to 4,000 clips, drawn by a fixed seed, at most 8 s each are embedded; of the frames of each, twelve are taken. The same
    model and data give the same numbers.

    Args:
        model: whose embeddings are whitened; not whitened itself.
        data_dir: formatted directory (stage 2), for example the one that was pre-trained on. Labels are not read.
        size: directions to keep.
        of_frames_too: whether embeddings of frames are whitened, or of clips alone.

    Returns:
        for ``scene`` and for ``frame``, as :meth:`FrozenModel.whiten` takes them; empty where the data are fewer than 200 clips.

    Raises:
        UserError: damaged archives, or another sample rate.
    """
    archive = WaveArchive(data_dir)
    archive.check_rate(model.sample_rate)
    if len(archive) < FEWEST:
        print(f"note: embeddings are not whitened: {data_dir} has {len(archive)} clips, {FEWEST} or more are needed")
        return {}
    rng = np.random.default_rng(0)
    device = next(model.buffers()).device
    scenes: List[np.ndarray] = []
    frames: List[np.ndarray] = []
    for index in tqdm(rng.permutation(len(archive))[:CLIPS].tolist(), desc="whiten", unit="clip", mininterval=1.0):
        wave = _excerpt(archive.read(index), int(SECONDS * model.sample_rate), rng)
        of_scene, of_frames = model.both(torch.from_numpy(wave.astype(np.float32) / 32768.0)[None].to(device))
        scenes.append(of_scene[0].cpu().numpy())
        chosen = np.sort(rng.permutation(of_frames.shape[1])[:FRAMES])
        frames.append(of_frames[0].cpu().numpy()[chosen])
    rows = {"scene": np.stack(scenes), **({"frame": np.concatenate(frames)} if of_frames_too else {})}
    return {kind: Whitening.fitted(part, size, model.unwhitened_columns(kind)) for kind, part in rows.items()}


def whiten_checkpoint(path: Union[str, Path], data_dir: Union[str, Path]) -> None:
    """Fit the whitening that a checkpoint's configuration asks for, and write it into the checkpoint; does nothing where it is there.

    Raises:
        UserError: a checkpoint that cannot be read or written, or damaged data.
    """
    content = load_checkpoint(path)
    size = content["config"]["embedding"]["whiten"]
    model = from_checkpoint(content, {"model": str(path)})
    if not size or model.whitening is not None:
        return
    fitted = fit_whitening(model, data_dir, size, content["config"]["embedding"].get("whiten_frames", True))
    for kind, part in fitted.items():
        content["model"].update({f"whitening.{kind}.{name}": buffer for name, buffer in part.named_buffers()})
    if fitted:
        save_checkpoint(path, content)


def _excerpt(wave: np.ndarray, longest: int, rng: np.random.Generator) -> np.ndarray:
    """The wave, or as much of it as is wanted, from a random place on."""
    start = int(rng.integers(0, max(1, len(wave) - longest + 1)))
    return wave[start : start + longest]
