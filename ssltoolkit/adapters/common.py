"""Conversions shared by the adapters, from a benchmark's audio to the input of a frozen model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.data.audio import resample
from ssltoolkit.embedding import FrozenModel, load_frozen


def loaded(model: Any) -> FrozenModel:
    """Return a frozen model as it is, or load it by name (default: the shipped model)."""
    return model if isinstance(model, FrozenModel) else load_frozen(str(model or "shipped"))


def waves_of(audio: Tensor, model: FrozenModel) -> Tensor:
    """(N,), (B, N) or (B, 1, N) of any dtype to (B, N) float32 on the model's device, at least one sample long."""
    audio = torch.as_tensor(audio)
    if not audio.is_floating_point():
        audio = audio.float() / torch.iinfo(audio.dtype).max
    audio = audio.float()
    if audio.dim() == 1:
        audio = audio[None]
    elif audio.dim() == 3:
        audio = audio.mean(dim=1)
    if audio.dim() != 2:
        raise ValueError(f"expected audio of shape (B, N), got {tuple(audio.shape)}")
    if audio.shape[1] == 0:
        audio = audio.new_zeros(len(audio), 1)
    return audio.to(next(model.buffers()).device)


def at_rate(samples: np.ndarray, rate: int, model: FrozenModel) -> np.ndarray:
    """Mono (N,) float32 at the model's rate; channels (C, N) are averaged."""
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim == 2:
        samples = samples.mean(axis=0 if samples.shape[0] < samples.shape[1] else 1)
    return resample(np.ascontiguousarray(samples), int(rate), model.sample_rate)
