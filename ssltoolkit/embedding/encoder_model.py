"""Frozen embeddings of a frontend and an encoder with fixed weights."""

from __future__ import annotations

from typing import Dict, List, Tuple

import torch
from torch import Tensor, nn

from ssltoolkit.embedding.frozen import CHUNK_FRAMES, FrozenModel, frame_total, mel_between, with_context
from ssltoolkit.encoders.base import Encoder, ScenePooling
from ssltoolkit.encoders.outputs import chosen_outputs, columns_of
from ssltoolkit.errors import UserError
from ssltoolkit.exporting import exporting, pad_time
from ssltoolkit.frontends.logmel import Frontend
from ssltoolkit.precision import has_bfloat16
from ssltoolkit.training.settings import EmbeddingSettings

#: mel frames of all windows that one pass over audio in windows takes
WINDOW_FRAMES = 64 * 96
#: frame embeddings are at least this dense, as HEAR advises
MAX_HOP_MS = 50.0


class EncoderModel(FrozenModel):
    """A frontend and an encoder with fixed weights.

    Args:
        frontend: with its statistics.
        encoder: of any kind; one that depends on its whole input sees windows of ``segment_seconds``, one whose hop is
            over 50 ms sees the audio several times, shifted, for its frame embeddings.
        embedding: what is handed out; scenes are pooled from frames without context.
        segment_seconds: that the encoder was trained on.
        identity: see :class:`FrozenModel`.
    """

    def __init__(self, frontend: Frontend, encoder: Encoder, embedding: EmbeddingSettings, segment_seconds: float, identity: Dict[str, str]) -> None:
        super().__init__()
        self.frontend, self.encoder, self.identity = frontend, encoder, identity
        self.sample_rate = frontend.sample_rate
        self.fine_stride = next(d for d in range(encoder.stride, 0, -1) if encoder.stride % d == 0 and (d * frontend.hop_ms <= MAX_HOP_MS or d == 1))
        self.hop_ms, self.pools_frames = self.fine_stride * frontend.hop_ms, self.fine_stride == encoder.stride
        self.segment = int(round(segment_seconds * self.sample_rate)) // frontend.hop_length
        self.frame_context = embedding.frame_context
        self.context_columns = _context_columns(encoder, embedding)
        self.frame_dim = encoder.embed_dim + sum(last - first for first, last in self.context_columns)
        self.pool = ScenePooling(encoder, embedding.scene)
        self.whiten_outputs = embedding.whiten_outputs
        self.scene_dim = self.pool.dim
        self.bfloat16 = False
        self.eval().requires_grad_(False)

    def unwhitened_columns(self, kind: str) -> List[Tuple[int, int]]:
        outputs = self.encoder.named_outputs()
        chosen = chosen_outputs(outputs, self.whiten_outputs, "embedding.whiten_outputs")
        places = self.pool.places if kind == "scene" else {name: [columns] for name, columns in columns_of(outputs).items()}
        return sorted(columns for name, parts in places.items() if name not in chosen for columns in parts)

    def use_bfloat16(self) -> None:
        if not has_bfloat16(next(self.buffers()).device.type):
            raise UserError("--precision bf16: this machine does not compute in bfloat16; leave it out")
        if not self.bfloat16:
            self.bfloat16 = True
            self.identity = {**self.identity, "model_hash": f"{self.identity['model_hash']}-bf16", "precision": "bf16"}

    @torch.inference_mode()
    def frames(self, waves: Tensor) -> Tensor:
        return self._finished("frame", self._frames(waves))

    def _frames(self, waves: Tensor) -> Tensor:
        waves = self.frontend.leveled(waves)
        count = frame_total(waves.shape[1], self.sample_rate, self.hop_ms)
        shifts = self.encoder.stride // self.fine_stride
        if shifts == 1:
            return self._with_context(self._at_stride(waves, count))
        # A coarse encoder looks at the audio several times, each time shifted by one fine hop; silence before the start
        # puts the first centre at half a fine hop.
        hop, fine, stride = self.frontend.hop_length, self.fine_stride, self.encoder.stride
        padded = nn.functional.pad(waves, ((stride - fine) * hop // 2, stride * hop))
        each = (count + shifts - 1) // shifts
        parts = [self._at_stride(padded[:, shift * fine * hop :], each) for shift in range(shifts)]
        return self._with_context(torch.stack(parts, dim=2).flatten(1, 2)[:, :count])

    def _with_context(self, frames: Tensor) -> Tensor:
        return with_context(frames, self.frame_context, self.hop_ms, self.context_columns)

    @torch.inference_mode()
    def both(self, waves: Tensor) -> Tuple[Tensor, Tensor]:
        frames = self._frames(waves)
        scenes = self.pool(frames) if self.fine_stride == self.encoder.stride else self._scenes(waves)
        return self._finished("scene", scenes), self._finished("frame", frames)

    @torch.inference_mode()
    def scenes(self, waves: Tensor) -> Tensor:
        return self._finished("scene", self._scenes(waves))

    def _scenes(self, waves: Tensor) -> Tensor:
        hop_ms = self.encoder.stride * self.frontend.hop_ms
        waves = self.frontend.leveled(waves)
        return self.pool(self._at_stride(waves, frame_total(waves.shape[1], self.sample_rate, hop_ms)))

    def _encoded(self, mel: Tensor) -> Tensor:
        with torch.autocast(mel.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.encoder(mel).float()

    def _at_stride(self, waves: Tensor, count: int) -> Tensor:
        """The first ``count`` frames at the encoder's own stride."""
        total = torch.sym_max(count * self.encoder.stride, waves.shape[1] // self.frontend.hop_length)  # mel frames that these cover
        if exporting():
            return self._as_graph(waves, count, total)
        parts = self._windows(waves, count, total) if self.encoder.context_frames is None else self._stretches(waves, count, total)
        return torch.cat(parts, dim=1)[:, :count]

    def _as_graph(self, waves: Tensor, count: int, total: int) -> Tensor:
        """What :meth:`_stretches` and :meth:`_windows` give, without a branch or a loop that depends on a size."""
        missing = torch.sym_max(total * self.frontend.hop_length - waves.shape[1], 0)
        mel = self.frontend(pad_time(waves, missing))
        if self.encoder.context_frames is not None:
            return self.encoder(mel)[:, :count]
        stride, length = self.encoder.stride, self._multiple(self.segment)
        whole = total // length
        windows = torch.sym_max(whole, 1)
        first = torch.sym_max(total - length, 0) // stride * stride
        padded = pad_time(mel, torch.sym_max(length - total, 0))[:, : windows * length]
        h = self.encoder(padded.reshape(-1, length, mel.shape[2]))
        h = h.reshape(waves.shape[0], -1, h.shape[2])[:, : whole * (length // stride)]
        rest = self.encoder(mel[:, first:])[:, (whole * length - first) // stride :]
        return torch.cat([h, rest], dim=1)[:, :count]

    def _stretches(self, waves: Tensor, count: int, total: int) -> List[Tensor]:
        """Of an encoder whose frames see a limited context: stretches of the audio with that context."""
        stride, chunk = self.encoder.stride, self._multiple(CHUNK_FRAMES)
        margin = self._multiple(self.encoder.context_frames)
        parts = []
        for start in range(0, count * stride, chunk):
            first, last = max(0, start - margin), min(total, start + chunk + margin)
            skip = (start - first) // stride
            parts.append(self._encoded(mel_between(self.frontend, waves, first, last))[:, skip : skip + chunk // stride])
        return parts

    def _windows(self, waves: Tensor, count: int, total: int) -> List[Tensor]:
        """Of an encoder whose frames depend on its whole input: windows of one length, many in a pass."""
        stride, length = self.encoder.stride, self._multiple(self.segment)
        starts = range(0, count * stride, length)
        whole = sum(start + length <= total for start in starts)
        each = max(1, WINDOW_FRAMES // (len(waves) * length))
        parts = []
        for first in range(0, whole, each):
            windows = min(each, whole - first)
            mel = mel_between(self.frontend, waves, first * length, (first + windows) * length)
            h = self._encoded(mel.unflatten(1, (windows, length)).flatten(0, 1))
            parts.append(h.unflatten(0, (len(waves), windows)).flatten(1, 2))
        if whole < len(starts):  # the rest: a whole window that ends with the audio, where there is as much
            start = starts[whole]
            first = max(0, (total - length) // stride * stride)
            parts.append(self._encoded(mel_between(self.frontend, waves, first, total))[:, (start - first) // stride :])
        return parts

    def _multiple(self, frames: int) -> int:
        return -(-frames // self.encoder.stride) * self.encoder.stride

    def scenes_of(self, frames: Tensor) -> Tensor:
        return self.pool(frames)


def _context_columns(encoder: Encoder, embedding: EmbeddingSettings) -> List[Tuple[int, int]]:
    """Columns of the outputs of which frames carry the mean around them, neighbours joined; none without context."""
    if not embedding.frame_context:
        return []
    outputs = encoder.named_outputs()
    joined: List[Tuple[int, int]] = []
    for name in chosen_outputs(outputs, embedding.context_outputs, "embedding.context_outputs"):
        first, last = columns_of(outputs)[name]
        if joined and joined[-1][1] == first:
            first = joined.pop()[0]
        joined.append((first, last))
    return joined
