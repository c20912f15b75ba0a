"""The HEAR API for any model of this toolkit; ``hear-eval`` and the HEAR validator can use this module directly.

https://hearbenchmark.com: ``load_model``, ``get_scene_embeddings`` and ``get_timestamp_embeddings``.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor

from ssltoolkit.embedding import FrozenModel, load_frozen
from ssltoolkit.embedding.frozen import checked_waves


class HearModel(torch.nn.Module):
    """A frozen model with the attributes that HEAR requires."""

    def __init__(self, model: FrozenModel) -> None:
        super().__init__()
        self.model = model
        self.sample_rate = int(model.sample_rate)
        self.scene_embedding_size = int(model.scene_dim)
        self.timestamp_embedding_size = int(model.frame_dim)
        self.eval()

    def forward(self, audio: Tensor) -> Tensor:
        """Scene embeddings of (n, samples) audio."""
        return self.model.scenes(audio)


def load_model(model_file_path: str = "") -> HearModel:
    """Load a checkpoint, ``baseline:logmel``, ``random:<encoder>`` or ``released:<encoder>:<file>``; by default the
    shipped model.

    Raises:
        UserError: no such model.

    Example:
        >>> model = load_model()
        >>> model.sample_rate, model.scene_embedding_size
        (16000, 1024)
    """
    return HearModel(load_frozen(model_file_path or "shipped"))


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> Tuple[Tensor, Tensor]:
    """Frame embeddings and their timestamps.

    Args:
        audio: (n_sounds, n_samples) mono in [-1, 1] at ``model.sample_rate``.
        model: from :func:`load_model`.

    Returns:
        (n_sounds, T', timestamp_embedding_size) float32 and frame centres (n_sounds, T') in milliseconds.

    Raises:
        TypeError: not a tensor. ValueError: wrong shape, no sounds, or sounds without samples or with
            samples that are not finite.

    Example:
        >>> model = load_model()
        >>> frames, times_ms = get_timestamp_embeddings(torch.zeros(2, model.sample_rate), model)
        >>> frames.shape, times_ms[0, :2].tolist()
        (torch.Size([2, 25, 2320]), [20.0, 60.0])
    """
    frames = [model.model.frames(sound[None]) for sound in _checked(audio, model)]
    embeddings = torch.cat(frames)
    times = torch.from_numpy(model.model.timestamps_ms(embeddings.shape[1])).float()
    return embeddings, times.to(embeddings.device).expand(len(embeddings), -1).contiguous()


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """Clip embeddings (n_sounds, scene_embedding_size) float32; arguments and errors as
    :func:`get_timestamp_embeddings`.

    Example:
        >>> model = load_model()
        >>> get_scene_embeddings(torch.zeros(2, model.sample_rate), model).shape
        torch.Size([2, 1024])
    """
    # One sound at a time: convolution libraries choose their algorithm by batch size, and a sound's embedding must not
    # depend on the other sounds in the batch.
    return torch.cat([model.model.scenes(sound[None]) for sound in _checked(audio, model)])


def _checked(audio: Tensor, model: HearModel) -> Tensor:
    return checked_waves(audio, "audio").to(next(model.buffers()).device)
