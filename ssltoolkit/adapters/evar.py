"""Adapter for EVAR (eval-audio-repr) with the interface of its ``BaseAudioRepr``.

In a clone of EVAR, write ``evar/ar_ssltoolkit.py``::

    from ssltoolkit.adapters.evar import AudioRepr as AR_SSLToolkit

add ``import evar.ar_ssltoolkit`` to the imports of ``lineareval.py``, and write ``config/ssltoolkit.yaml``::

    audio_repr: ar_ssltoolkit.AR_SSLToolkit
    weight_file: shipped # or a folder or checkpoint
    sample_rate: 16000
    batch_size: 256
    lr_lineareval: 0.0003
    report_per_epochs: 20
    early_stop_epochs: 20
    return_filename: false
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssltoolkit.adapters.common import loaded, waves_of


class AudioRepr(torch.nn.Module):
    """Clip embeddings, and frame embeddings with time last.

    Args:
        cfg: EVAR's configuration (``weight_file`` names the model, ``sample_rate`` is that of the audio), or a model
            name.

    Example:
        >>> AudioRepr("shipped")(torch.zeros(2, 16000)).shape  # (B, D)  # doctest: +SKIP
    """

    def __init__(self, cfg: Any = None) -> None:
        super().__init__()
        self.cfg = cfg
        name = cfg if isinstance(cfg, str) else getattr(cfg, "weight_file", None)
        self.model = loaded(name)
        self.rate = int(getattr(cfg, "sample_rate", self.model.sample_rate) or self.model.sample_rate)

    def precompute(self, device: Any, data_loader: Any) -> None:
        """Does nothing: the model contains its statistics."""

    def _waves(self, batch_audio: Tensor) -> Tensor:
        waves = waves_of(batch_audio, self.model)
        if self.rate == self.model.sample_rate:
            return waves
        import soxr

        return torch.from_numpy(soxr.resample(waves.cpu().numpy().T, self.rate, self.model.sample_rate).T.copy()).to(
            waves.device
        )

    def forward(self, batch_audio: Tensor) -> Tensor:
        """(B, N) to (B, D)."""
        return self.model.scenes(self._waves(batch_audio)).clone()

    def encode_frames(self, batch_audio: Tensor) -> Tensor:
        """(B, N) to (B, D, T)."""
        return self.model.frames(self._waves(batch_audio)).transpose(1, 2).clone()
