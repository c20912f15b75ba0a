"""Base class of frozen models: waves to frame and scene embeddings.

Shapes: N samples, T mel frames, T' embedding frames, D embedding size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from ssltoolkit.errors import UserError
from ssltoolkit.exporting import exporting
from ssltoolkit.frontends.logmel import Frontend
from ssltoolkit.hub.folder import save_folder
from ssltoolkit.whitening import Whitening

PathLike = Union[str, Path]
#: mel frames per chunk of long audio, which bounds memory
CHUNK_FRAMES = 3000


class FrozenModel(nn.Module):
    """Maps waves to frame and scene embeddings, in evaluation mode, without gradients.

    Attributes:
        sample_rate: expected sample rate, Hz.
        hop_ms: time between frame embeddings, milliseconds.
        frame_dim, scene_dim: sizes of the two embeddings.
        pools_frames: whether ``scenes_of(frames(waves))`` equals ``scenes(waves)``, so that one pass gives both.
        whitening: whitening of ``scene`` and ``frame`` embeddings; None if they are not whitened.
        identity: ``model`` and ``model_hash``, which identify the embeddings' values; stored with every embedding.
        origin: ``config`` and other checkpoint entries that rebuild the model; empty if it cannot be rebuilt.
    """

    sample_rate: int
    hop_ms: float
    frame_dim: int
    scene_dim: int
    pools_frames: bool = True
    identity: Dict[str, str]
    origin: Mapping[str, Any] = {}
    #: set to :func:`load_frozen` by ``loading.py``, which imports this module
    _load: ClassVar[Callable[..., "FrozenModel"]]

    def __init__(self) -> None:
        super().__init__()
        self.whitening: Optional[nn.ModuleDict] = None

    @staticmethod
    def from_pretrained(name: PathLike, config: Optional[PathLike] = None) -> "FrozenModel":
        """Load a model by the path of its folder or checkpoint, by ``owner/name[@revision]`` (extra ``hub``), or by any
        name that :func:`load_frozen` accepts.

        Raises:
            UserError: no such model, or one that cannot be read.

        Example:
            >>> FrozenModel.from_pretrained("shipped").sample_rate
            16000
        """
        return FrozenModel._load(str(name), config)

    def save_pretrained(self, folder: PathLike, card: str = "") -> Path:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md`` (``card``, or generated).

        Returns:
            the folder.

        Raises:
            UserError: the model has no configuration to rebuild it from, or the folder cannot be written.
        """
        return save_folder(self, folder, card)

    def frames(self, waves: Tensor) -> Tensor:
        """(B, N) waves in [-1, 1] to frame embeddings (B, T', D) float32."""
        raise NotImplementedError

    def scenes_of(self, frames: Tensor) -> Tensor:
        """Frame embeddings (B, T', D) to scene embeddings (B, scene_dim) float32."""
        raise NotImplementedError

    def scenes(self, waves: Tensor) -> Tensor:
        """(B, N) waves to scene embeddings (B, scene_dim) float32."""
        return self.scenes_of(self.frames(waves))

    def both(self, waves: Tensor) -> Tuple[Tensor, Tensor]:
        """Scene (B, scene_dim) and frame (B, T', D) embeddings of (B, N) waves, in one network pass if possible."""
        frames = self.frames(waves)
        return self.scenes_of(frames) if self.pools_frames else self.scenes(waves), frames

    def streamed(self, waves: Tensor, take: Callable[[Tensor], None]) -> Tensor:
        """Return scene embeddings (B, scene_dim) of (B, N) waves, and pass frame embeddings to ``take`` in chunks.

        Args:
            waves: (B, N) in [-1, 1].
            take: called with (B, n, D) float32 chunks in order; concatenated over time they are the frames of
                :meth:`both`. A model that computes in chunks holds only a few of them in memory.
        """
        scenes, frames = self.both(waves)
        take(frames)
        return scenes

    def unwhitened_columns(self, kind: str) -> List[Tuple[int, int]]:
        """Column ranges (first, last + 1) of ``scene`` or ``frame`` embeddings that whitening does not rotate."""
        return []

    def columns_apart(self, kind: str) -> List[Tuple[List[Tuple[int, int]], int]]:
        """Column ranges of ``scene`` or ``frame`` embeddings that are whitened separately, and how many values each
        gets.
        """
        return []

    def whiten(self, scene: Whitening, frame: Optional[Whitening] = None) -> None:
        """Whiten all embeddings from now on.

        Args:
            scene, frame: whitenings fitted to this model's scene and frame embeddings; without ``frame``, frame
                embeddings are not whitened.

        Raises:
            UserError: a whitening of another embedding size.
        """
        parts = {"scene": scene, **({} if frame is None else {"frame": frame})}
        for kind, part in parts.items():
            wanted = getattr(self, f"{kind}_dim")
            if part.dim != wanted:
                raise UserError(
                    f"{self.identity['model']}: its whitening expects {kind} embeddings of {part.dim} values, but the "
                    f"settings give {wanted}; "
                    "restore the embedding settings, or turn whitening off with --set embedding.whiten=0"
                )
            setattr(self, f"{kind}_dim", part.out_dim)
        self.whitening, self.pools_frames = nn.ModuleDict(parts).eval().requires_grad_(False), False
        config = self.origin.get("config", {})
        if config and not config.get("embedding", {}).get("whiten"):  # a saved model is read by its configuration
            embedding = {**config.get("embedding", {}), "whiten": scene.out_dim}
            self.origin = {**self.origin, "config": {**config, "embedding": embedding}}

    def _finished(self, kind: str, rows: Tensor) -> Tensor:
        """Apply the whitening, if any."""
        return rows if self.whitening is None or kind not in self.whitening else self.whitening[kind](rows)

    def timestamps_ms(self, count: int) -> np.ndarray:
        """Centres of ``count`` frames from the start of the audio, milliseconds, float64."""
        return (np.arange(count) + 0.5) * self.hop_ms

    def use_bfloat16(self) -> None:
        """Compute in bfloat16 from now on; embeddings get a new model hash.

        Raises:
            UserError: the device or the model does not support bfloat16.
        """
        raise UserError(f"{self.identity['model']}: it has no encoder that could run in bfloat16; remove --precision")

    def train(self, mode: bool = True) -> "FrozenModel":
        """Stay in evaluation mode, whatever ``mode`` is."""
        return super().train(False)


def checked_waves(waves: Tensor, name: str = "waves") -> Tensor:
    """Check ``waves`` and return it as (B, N) float32.

    Args:
        waves: (B, N) of any floating-point type, in [-1, 1].
        name: name of the argument, for errors.

    Raises:
        TypeError: not a tensor, or an integer tensor. ValueError: wrong shape, empty, or a sample that is not finite.

    Example:
        >>> checked_waves(torch.zeros(1, 16000, dtype=torch.float64)).dtype
        torch.float32
    """
    if not isinstance(waves, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(waves).__name__}; convert a NumPy array by torch.from_numpy"
        )
    if not waves.is_floating_point():
        raise TypeError(f"{name} must be floating-point in [-1, 1], got {waves.dtype}; divide 16-bit samples by 32768")
    if waves.dim() != 2 or (not exporting() and not waves.numel()):
        raise ValueError(
            f"{name} must be (sounds, samples) with at least one of both, got {tuple(waves.shape)}"
            + ("; for a single sound pass waves[None]" if waves.dim() == 1 else "")
        )
    waves = waves.float()
    if not exporting():
        wrong = (~waves.isfinite().all(dim=1)).nonzero()
        if len(wrong):
            raise ValueError(f"{name}[{int(wrong[0])}] has a sample that is NaN or infinite; remove or repair it")
    return waves


def frame_total(samples: int, sample_rate: int, hop_ms: float) -> int:
    """Number of frames whose centres lie within ``samples``; at least one."""
    hop = round(hop_ms * sample_rate / 1000.0)
    return torch.sym_max(1, (2 * samples + hop) // (2 * hop))


def mel_between(frontend: Frontend, waves: Tensor, first: int, last: int, gain: Optional[Tensor] = None) -> Tensor:
    """Normalised log-mel of frames ``first`` to ``last``, including the samples that their windows overlap on either
    side.

    ``gain`` (B,) scales the waves first; None for no scaling.
    """
    hop = frontend.hop_length
    extra = -(-frontend.reach // hop)  # whole frames that cover half a window
    begin = max(0, first - extra) // frontend.frame_unit * frontend.frame_unit
    wave = waves[:, begin * hop : (last + extra) * hop]
    if gain is not None:
        wave = wave * gain[:, None]
    missing = (last - begin) * hop - wave.shape[1]
    mel = frontend(nn.functional.pad(wave, (0, missing)) if missing > 0 else wave)
    return mel[:, first - begin : last - begin]


def context_reach(seconds: float, hop_ms: float) -> int:
    """Number of frames on either side that lie within ``seconds`` of context."""
    return max(1, round(500.0 * seconds / hop_ms))


def with_context(
    frames: Tensor, seconds: float, hop_ms: float, columns: Optional[Sequence[Tuple[int, int]]] = None
) -> Tensor:
    """Append to each frame (B, T', D) the mean of the frames at most half of ``seconds`` away: (B, T', 2 D).

    At the ends of the audio the mean is over the existing frames. With 0 seconds, frames are returned unchanged.

    Args:
        frames: (B, T', D).
        seconds: length of the context.
        hop_ms: time between frames, milliseconds.
        columns: column ranges (first, last + 1) whose mean is appended; None for all.

    Example:
        >>> with_context(torch.zeros(1, 50, 8), seconds=1.0, hop_ms=40.0).shape
        torch.Size([1, 50, 16])
    """
    if not seconds:
        return frames
    count, dim = frames.shape[1:]
    source = frames if columns is None else torch.cat([frames[..., first:last] for first, last in columns], dim=-1)
    averaged = source.shape[-1]
    reach = context_reach(seconds, hop_ms)
    if exporting():
        mean = nn.functional.avg_pool1d(source.transpose(1, 2), 2 * reach + 1, 1, reach, count_include_pad=False)
        return torch.cat([frames, mean.transpose(1, 2)], dim=2)
    out = frames.new_empty(len(frames), count, dim + averaged)
    out[..., :dim] = frames
    for start in range(0, count, CHUNK_FRAMES):  # in chunks: pooling needs a transposed copy
        first, last = max(0, start - reach), min(count, start + CHUNK_FRAMES + reach)
        mean = nn.functional.avg_pool1d(
            source[:, first:last].transpose(1, 2), 2 * reach + 1, 1, reach, count_include_pad=False
        )
        out[:, start : start + CHUNK_FRAMES, dim:] = mean[..., start - first : start - first + CHUNK_FRAMES].transpose(
            1, 2
        )
    return out
