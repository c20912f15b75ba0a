"""Adapter for S3PRL: an upstream from a list of waves to hidden states.

Put these two lines into ``hubconf.py`` of a new folder in S3PRL's ``upstream/``::

    from ssltoolkit.adapters.s3prl import UpstreamExpert
    def ssltoolkit(ckpt="shipped", *args, **kwargs): return UpstreamExpert(ckpt, *args, **kwargs)
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import torch
from torch import Tensor

from ssltoolkit.adapters.common import loaded, waves_of

#: sample rate of the waves that S3PRL passes to upstreams, Hz
RATE = 16000


class UpstreamExpert(torch.nn.Module):
    """One hidden state, the frame embeddings.

    Args:
        ckpt: a frozen model or its name.
        model_config: not used.
    """

    def __init__(self, ckpt: Any = "shipped", model_config: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__()
        self.name = "[ssltoolkit]"
        self.model = loaded(ckpt)

    def get_downsample_rates(self, key: str) -> int:
        """Samples at 16 kHz between frames."""
        return round(self.model.hop_ms * RATE / 1000)

    def forward(self, wavs: List[Tensor]) -> Dict[str, Any]:
        """Waves (N,) of different lengths, at 16 kHz, to ``hidden_states`` [(B, T, D)], zero-padded at the end."""
        frames = []
        for wave in wavs:  # one by one: padding would change the embeddings of shorter waves
            given = waves_of(wave, self.model)
            if self.model.sample_rate != RATE:
                import soxr

                given = torch.from_numpy(soxr.resample(given[0].cpu().numpy(), RATE, self.model.sample_rate))[None].to(
                    given.device
                )
            frames.append(self.model.frames(given)[0])
        padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True).clone()
        return {"hidden_states": [padded], "last_hidden_state": padded, "hidden_state_0": padded}
