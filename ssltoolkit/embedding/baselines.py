"""The baseline without a network: statistics of log-mel."""

from __future__ import annotations

from typing import Dict, Tuple

import torch
from torch import Tensor

from ssltoolkit.embedding.frozen import (
    CHUNK_FRAMES,
    FrozenModel,
    checked_waves,
    frame_total,
    mel_between,
    with_context,
)
from ssltoolkit.frontends.logmel import Frontend


class LogMelModel(FrozenModel):
    """The baseline without a network: mean and standard deviation of log-mel, over 40 ms for a frame and over the clip
    for a scene.

    Args:
        frontend: the frontend, with its statistics.
        identity: see :class:`FrozenModel`.
        frame_context: see :func:`with_context`.
    """

    STRIDE = 4

    def __init__(self, frontend: Frontend, identity: Dict[str, str], frame_context: float = 0.0) -> None:
        super().__init__()
        self.frontend, self.identity = frontend, identity
        self.sample_rate, self.hop_ms = frontend.sample_rate, self.STRIDE * frontend.hop_ms
        self.frame_context, self.own_dim = frame_context, 2 * frontend.n_mels
        self.scene_dim = self.own_dim
        self.frame_dim = self.scene_dim * (2 if frame_context else 1)
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def frames(self, waves: Tensor) -> Tensor:
        return self._finished("frame", self._frames(waves))

    @torch.inference_mode()
    def scenes(self, waves: Tensor) -> Tensor:
        return self.both(waves)[0]

    @torch.inference_mode()
    def both(self, waves: Tensor) -> Tuple[Tensor, Tensor]:
        frames = self._frames(waves)
        return self._finished("scene", self.scenes_of(frames)), self._finished("frame", frames)

    def _frames(self, waves: Tensor) -> Tensor:
        waves = self.frontend.leveled(checked_waves(waves))
        count = frame_total(waves.shape[1], self.sample_rate, self.hop_ms)
        parts = []
        for start in range(0, count * self.STRIDE, CHUNK_FRAMES):
            mel = mel_between(self.frontend, waves, start, min(start + CHUNK_FRAMES, count * self.STRIDE))
            grouped = mel.unflatten(1, (-1, self.STRIDE))
            parts.append(torch.cat([grouped.mean(2), grouped.std(2, correction=0)], dim=2))
        return with_context(torch.cat(parts, dim=1), self.frame_context, self.hop_ms)

    def scenes_of(self, frames: Tensor) -> Tensor:
        # The mean and variance of all mel frames follow from those of the groups, because these have equal length.
        mean, deviation = frames[..., : self.own_dim].chunk(2, dim=2)
        clip_mean = mean.mean(1)
        variance = (deviation.square() + mean.square()).mean(1) - clip_mean.square()
        return torch.cat([clip_mean, variance.clamp_min(0.0).sqrt()], dim=1)
