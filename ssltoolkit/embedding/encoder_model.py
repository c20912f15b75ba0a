"""Frozen embeddings of a frontend and an encoder with fixed weights."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn

from ssltoolkit.embedding.frozen import CHUNK_FRAMES, FrozenModel, checked_waves, frame_total, mel_between
from ssltoolkit.embedding.stretches import RunningScenes, context_stretches, joined
from ssltoolkit.encoders.base import Encoder, ScenePooling
from ssltoolkit.encoders.outputs import check_spelling, chosen_outputs, columns_of
from ssltoolkit.errors import UserError
from ssltoolkit.exporting import exporting, pad_time
from ssltoolkit.frontends.logmel import Frontend
from ssltoolkit.precision import has_bfloat16
from ssltoolkit.settings import EmbeddingSettings

#: mel frames of all windows that are encoded in one pass
WINDOW_FRAMES = 64 * 96
#: longest hop of frame embeddings, as HEAR recommends
MAX_HOP_MS = 50.0


class EncoderModel(FrozenModel):
    """A frontend and an encoder with fixed weights.

    Args:
        frontend: the frontend, with its statistics.
        encoder: any encoder. If it depends on its whole input, audio is encoded in windows of ``segment_seconds``. If
            its hop is over 50 ms, frame embeddings interleave several passes over shifted audio.
        embedding: settings of frames and scenes; scenes are pooled from frames without context.
        segment_seconds: segment length that the encoder was trained on.
        identity: see :class:`FrozenModel`.
    """

    def __init__(
        self,
        frontend: Frontend,
        encoder: Encoder,
        embedding: EmbeddingSettings,
        segment_seconds: float,
        identity: Dict[str, str],
    ) -> None:
        super().__init__()
        self.frontend, self.encoder, self.identity = frontend, encoder, identity
        self.sample_rate = frontend.sample_rate
        self.fine_stride = next(
            d
            for d in range(encoder.stride, 0, -1)
            if encoder.stride % d == 0 and (d * frontend.hop_ms <= MAX_HOP_MS or d == 1)
        )
        self.hop_ms, self.pools_frames = self.fine_stride * frontend.hop_ms, self.fine_stride == encoder.stride
        self.segment = int(round(segment_seconds * self.sample_rate)) // frontend.hop_length
        self.frame_context = embedding.frame_context
        self.context_columns = _context_columns(encoder, embedding)
        self.frame_dim = encoder.embed_dim + sum(last - first for first, last in self.context_columns)
        self.pool = ScenePooling(encoder, embedding.scene)
        self.whiten_outputs, self.whiten_apart = embedding.whiten_outputs, dict(embedding.whiten_apart)
        self.scene_dim = self.pool.dim
        self.bfloat16 = False
        self.eval().requires_grad_(False)

    def unwhitened_columns(self, kind: str) -> List[Tuple[int, int]]:
        chosen = chosen_outputs(self.encoder.named_outputs(), self.whiten_outputs, "embedding.whiten_outputs")
        return sorted(columns for name, parts in self._places(kind).items() if name not in chosen for columns in parts)

    def columns_apart(self, kind: str) -> List[Tuple[List[Tuple[int, int]], int]]:
        check_spelling(self.encoder.named_outputs(), self.whiten_apart, "embedding.whiten_apart")
        places, kept = self._places(kind), self.unwhitened_columns(kind)
        found = [
            ([place for place in places.get(name, []) if place not in kept], size)
            for name, size in self.whiten_apart.items()
        ]
        return [(columns, size) for columns, size in found if columns]

    def _places(self, kind: str) -> Dict[str, List[Tuple[int, int]]]:
        """Encoder output -> its columns in ``scene`` or ``frame`` embeddings."""
        outputs = self.encoder.named_outputs()
        return (
            self.pool.places if kind == "scene" else {name: [columns] for name, columns in columns_of(outputs).items()}
        )

    def use_bfloat16(self) -> None:
        if not has_bfloat16(next(self.buffers()).device.type):
            raise UserError("--precision bf16: this machine does not support bfloat16; remove the option")
        if not self.bfloat16:
            self.bfloat16 = True
            self.identity = {**self.identity, "model_hash": f"{self.identity['model_hash']}-bf16", "precision": "bf16"}

    @torch.inference_mode()
    def frames(self, waves: Tensor) -> Tensor:
        waves = checked_waves(waves)
        return joined(
            self._finished_frames(self._own_frames(waves)), frame_total(waves.shape[1], self.sample_rate, self.hop_ms)
        )

    def _finished_frames(self, parts: Iterator[Tensor]) -> Iterator[Tensor]:
        """Chunks of final frame embeddings: with context appended, whitened."""
        for part in context_stretches(parts, self.frame_context, self.hop_ms, self.context_columns):
            yield self._finished("frame", part)

    def _own_frames(self, waves: Tensor) -> Iterator[Tensor]:
        """Frames at the fine hop, without context, chunk by chunk."""
        count = frame_total(waves.shape[1], self.sample_rate, self.hop_ms)
        shifts = self.encoder.stride // self.fine_stride
        waves, gain = self._level(waves)
        if shifts == 1:
            yield from self._at_stride(waves, gain, count)
            return
        # Run a coarse encoder several times on audio shifted by one fine hop each. Silence before the start puts the
        # first frame centre at half a fine hop; silence after the end gives all passes the same length.
        hop, fine, stride = self.frontend.hop_length, self.fine_stride, self.encoder.stride
        padded = nn.functional.pad(waves, ((stride - fine) * hop // 2, 2 * stride * hop))
        each = (count + shifts - 1) // shifts
        looks = [padded[:, start : start + each * stride * hop] for start in range(0, stride * hop, fine * hop)]
        if exporting():  # in one batch: the graph would otherwise contain the encoder once per shift
            gains = None if gain is None else gain.repeat(shifts)
            parts = joined(self._at_stride(torch.cat(looks), gains, each), each).unflatten(0, (shifts, -1))
        else:
            parts = torch.stack([joined(self._at_stride(look, gain, each), each) for look in looks])
        yield parts.permute(1, 2, 0, 3).flatten(1, 2)[:, :count]

    def _level(self, waves: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        """Waves, and the gain to apply chunk by chunk: a leveled copy of an hour of audio would double its memory."""
        if type(self.frontend).leveled is Frontend.leveled:
            return waves, self.frontend.gain(waves)
        return self.frontend.leveled(waves), None

    @torch.inference_mode()
    def both(self, waves: Tensor) -> Tuple[Tensor, Tensor]:
        waves = checked_waves(waves)
        running = RunningScenes(self.pool)
        parts = self._finished_frames(running.watching(self._own_frames(waves)))
        frames = joined(parts, frame_total(waves.shape[1], self.sample_rate, self.hop_ms))
        return self._finished("scene", self._watched(running, waves)), frames

    @torch.inference_mode()
    def streamed(self, waves: Tensor, take: Callable[[Tensor], None]) -> Tensor:
        waves = checked_waves(waves)
        running = RunningScenes(self.pool)
        for part in self._finished_frames(running.watching(self._own_frames(waves))):
            take(part)
        return self._finished("scene", self._watched(running, waves))

    def _watched(self, running: RunningScenes, waves: Tensor) -> Tensor:
        """Scenes pooled from the streamed frames; encoded again if scenes are pooled from frames at another hop."""
        return running.scenes() if self.fine_stride == self.encoder.stride else self._scenes(waves)

    @torch.inference_mode()
    def scenes(self, waves: Tensor) -> Tensor:
        return self._finished("scene", self._scenes(checked_waves(waves)))

    def _scenes(self, waves: Tensor) -> Tensor:
        hop_ms = self.encoder.stride * self.frontend.hop_ms
        running = RunningScenes(self.pool)
        waves, gain = self._level(waves)
        for part in self._at_stride(waves, gain, frame_total(waves.shape[1], self.sample_rate, hop_ms)):
            running.add(part)
        return running.scenes()

    def _encoded(self, mel: Tensor) -> Tensor:
        with torch.autocast(mel.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.encoder(mel).float()

    def _at_stride(self, waves: Tensor, gain: Optional[Tensor], count: int) -> Iterator[Tensor]:
        """The first ``count`` frames of waves times ``gain`` at the encoder's own stride, chunk by chunk."""
        # mel frames that these output frames cover
        total = torch.sym_max(count * self.encoder.stride, waves.shape[1] // self.frontend.hop_length)
        if exporting():
            yield self._as_graph(waves if gain is None else waves * gain[:, None], count, total)
            return
        stretches = self._windows if self.encoder.context_frames is None else self._stretches
        for part in stretches(waves, gain, count, total):
            yield part[:, :count]
            count -= part.shape[1]
            if count <= 0:
                return

    def _as_graph(self, waves: Tensor, count: int, total: int) -> Tensor:
        """Same result as :meth:`_stretches` or :meth:`_windows`, without branches or loops that depend on a size."""
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

    def _stretches(self, waves: Tensor, gain: Optional[Tensor], count: int, total: int) -> Iterator[Tensor]:
        """Encode long audio in chunks with overlap; for encoders with a limited context."""
        stride, chunk = self.encoder.stride, self._multiple(CHUNK_FRAMES)
        margin = self._multiple(self.encoder.context_frames or 0)
        for start in range(0, count * stride, chunk):
            first, last = max(0, start - margin), min(total, start + chunk + margin)
            skip = (start - first) // stride
            yield self._encoded(mel_between(self.frontend, waves, first, last, gain))[:, skip : skip + chunk // stride]

    def _windows(self, waves: Tensor, gain: Optional[Tensor], count: int, total: int) -> Iterator[Tensor]:
        """Encode windows of equal length, several per pass; for encoders that depend on their whole input."""
        stride, length = self.encoder.stride, self._multiple(self.segment)
        starts = range(0, count * stride, length)
        whole = sum(start + length <= total for start in starts)
        each = max(1, WINDOW_FRAMES // (len(waves) * length))
        for first in range(0, whole, each):
            windows = min(each, whole - first)
            mel = mel_between(self.frontend, waves, first * length, (first + windows) * length, gain)
            h = self._encoded(mel.unflatten(1, (windows, length)).flatten(0, 1))
            yield h.unflatten(0, (len(waves), windows)).flatten(1, 2)
        if whole < len(starts):  # the remainder: a full window that ends with the audio, if the audio is long enough
            start = starts[whole]
            first = max(0, (total - length) // stride * stride)
            yield self._encoded(mel_between(self.frontend, waves, first, total, gain))[:, (start - first) // stride :]

    def _multiple(self, frames: int) -> int:
        return -(-frames // self.encoder.stride) * self.encoder.stride

    def scenes_of(self, frames: Tensor) -> Tensor:
        return self.pool(frames)


def _context_columns(encoder: Encoder, embedding: EmbeddingSettings) -> List[Tuple[int, int]]:
    """Column ranges whose context mean is appended to frames, adjacent ranges merged; empty without context."""
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
