"""What every frozen model is: waves to frame and scene embeddings.

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
#: mel frames of one pass over long audio, so that memory does not grow with its length
CHUNK_FRAMES = 3000


class FrozenModel(nn.Module):
    """Maps waves to frame and scene embeddings, in evaluation mode, without gradients.

    Attributes:
        sample_rate: Hz expected.
        hop_ms: between frame embeddings.
        frame_dim, scene_dim: sizes of the two embeddings.
        pools_frames: whether ``scenes_of(frames(waves))`` is ``scenes(waves)``, so that one pass gives both.
        whitening: of ``scene`` and ``frame`` embeddings; None where they are as the network gives them.
        identity: what the numbers depend on (``model``, ``model_hash``), stored beside every embedding.
        origin: what the model is built from again, ``config`` and what else a checkpoint says of itself; empty where it
            cannot be.
    """

    sample_rate: int
    hop_ms: float
    frame_dim: int
    scene_dim: int
    pools_frames: bool = True
    identity: Dict[str, str]
    origin: Mapping[str, Any] = {}
    #: :func:`load_frozen`, set by the module loading, which builds on this one
    _load: ClassVar[Callable[..., "FrozenModel"]]

    def __init__(self) -> None:
        super().__init__()
        self.whitening: Optional[nn.ModuleDict] = None

    @staticmethod
    def from_pretrained(name: PathLike, config: Optional[PathLike] = None) -> "FrozenModel":
        """A model by the path of its folder or checkpoint, by ``owner/name[@revision]`` (extra ``hub``), or as
        :func:`load_frozen` takes it.

        Raises:
            UserError: no such model, or one that cannot be read.

        Example:
            >>> FrozenModel.from_pretrained("shipped").sample_rate
            16000
        """
        return FrozenModel._load(str(name), config)

    def save_pretrained(self, folder: PathLike, card: str = "") -> Path:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md`` (or ``card``); the folder.

        Raises:
            UserError: a model that is not of this toolkit's components, or a folder that cannot be written.
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
        """Scene (B, scene_dim) and frame embeddings (B, T', D) of (B, N) waves, by one pass of the network where that
        gives both.
        """
        frames = self.frames(waves)
        return self.scenes_of(frames) if self.pools_frames else self.scenes(waves), frames

    def streamed(self, waves: Tensor, take: Callable[[Tensor], None]) -> Tensor:
        """Scene embeddings (B, scene_dim) of (B, N) waves, while frame embeddings go to ``take`` stretch by stretch.

        Args:
            waves: (B, N) in [-1, 1].
            take: called with (B, n, D) float32, in order; joined over time they are what :meth:`both` gives. Of a model
                that computes in stretches no more than a few of them are in memory.
        """
        scenes, frames = self.both(waves)
        take(frames)
        return scenes

    def unwhitened_columns(self, kind: str) -> List[Tuple[int, int]]:
        """(first, one after the last) of the columns of ``scene`` or ``frame`` embeddings that whitening leaves as they
        are.
        """
        return []

    def columns_apart(self, kind: str) -> List[Tuple[List[Tuple[int, int]], int]]:
        """Columns of ``scene`` or ``frame`` embeddings that are whitened by themselves, and how many values they
        get.
        """
        return []

    def whiten(self, scene: Whitening, frame: Optional[Whitening] = None) -> None:
        """Whiten every embedding from now on.

        Args:
            scene, frame: fitted to this model's scene and frame embeddings; without ``frame``, those of frames stay as
                they are.

        Raises:
            UserError: a whitening of embeddings of another size.
        """
        parts = {"scene": scene, **({} if frame is None else {"frame": frame})}
        for kind, part in parts.items():
            wanted = getattr(self, f"{kind}_dim")
            if part.dim != wanted:
                raise UserError(
                    f"{self.identity['model']}: whitened for {kind} embeddings of {part.dim} values, it gives "
                    f"{wanted}; "
                    "keep the embedding settings as they were, or give --set embedding.whiten=0"
                )
            setattr(self, f"{kind}_dim", part.out_dim)
        self.whitening, self.pools_frames = nn.ModuleDict(parts).eval().requires_grad_(False), False

    def _finished(self, kind: str, rows: Tensor) -> Tensor:
        """Embeddings as they leave the model."""
        return rows if self.whitening is None or kind not in self.whitening else self.whitening[kind](rows)

    def timestamps_ms(self, count: int) -> np.ndarray:
        """Centres of ``count`` frames from the start of the audio, milliseconds, float64."""
        return (np.arange(count) + 0.5) * self.hop_ms

    def use_bfloat16(self) -> None:
        """Compute in bfloat16 from now on, where the device does; embeddings get a new model hash.

        Raises:
            UserError: the device or the model has no such form.
        """
        raise UserError(
            f"{self.identity['model']}: it has no encoder that bfloat16 would make faster; leave --precision out"
        )

    def train(self, mode: bool = True) -> "FrozenModel":
        """Frozen means frozen: evaluation mode whatever is asked for."""
        return super().train(False)


def checked_waves(waves: Tensor, name: str = "waves") -> Tensor:
    """``waves`` as (B, N) float32; what a model would fail on, or take for something else, is reported in one line.

    Args:
        waves: (B, N) of any floating type, in [-1, 1].
        name: of the argument.

    Raises:
        TypeError: not a tensor, or one of integers. ValueError: another shape, or nothing in it.

    Example:
        >>> checked_waves(torch.zeros(1, 16000, dtype=torch.float64)).dtype
        torch.float32
    """
    if not isinstance(waves, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(waves).__name__}; of a NumPy array torch.from_numpy makes one"
        )
    if not waves.is_floating_point():
        raise TypeError(f"{name} must be floating-point in [-1, 1], got {waves.dtype}; divide 16-bit samples by 32768")
    if waves.dim() != 2 or (not exporting() and not waves.numel()):
        raise ValueError(
            f"{name} must be (sounds, samples) with at least one of both, got {tuple(waves.shape)}"
            + ("; of one sound, waves[None]" if waves.dim() == 1 else "")
        )
    return waves.float()


def frame_total(samples: int, sample_rate: int, hop_ms: float) -> int:
    """Frames whose centres lie within ``samples``; at least one."""
    hop = round(hop_ms * sample_rate / 1000.0)
    return torch.sym_max(1, (2 * samples + hop) // (2 * hop))


def mel_between(frontend: Frontend, waves: Tensor, first: int, last: int, gain: Optional[Tensor] = None) -> Tensor:
    """Normalised log-mel of frames ``first`` to ``last``, with the samples on either side they reach into.

    ``gain`` (B,) is what the waves are multiplied by first; None leaves them as they are.
    """
    hop = frontend.hop_length
    extra = -(-frontend.reach // hop)  # whole frames that hold a window's overhang
    begin = max(0, first - extra) // frontend.frame_unit * frontend.frame_unit
    wave = waves[:, begin * hop : (last + extra) * hop]
    if gain is not None:
        wave = wave * gain[:, None]
    missing = (last - begin) * hop - wave.shape[1]
    mel = frontend(nn.functional.pad(wave, (0, missing)) if missing > 0 else wave)
    return mel[:, first - begin : last - begin]


def context_reach(seconds: float, hop_ms: float) -> int:
    """Frames on either side that lie within ``seconds`` of context."""
    return max(1, round(500.0 * seconds / hop_ms))


def with_context(
    frames: Tensor, seconds: float, hop_ms: float, columns: Optional[Sequence[Tuple[int, int]]] = None
) -> Tensor:
    """Frames (B, T', D), each followed by the mean of those at most half of ``seconds`` away: (B, T', 2 D); as they are
    for 0.

    At the ends of the audio the mean is over the frames there are.

    Args:
        frames: (B, T', D).
        seconds: of context.
        hop_ms: between frames, milliseconds.
        columns: (first, one after the last) of those columns of which the mean is appended; None for all.
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
    for start in range(0, count, CHUNK_FRAMES):  # in stretches, for the pooling wants a transposed copy
        first, last = max(0, start - reach), min(count, start + CHUNK_FRAMES + reach)
        mean = nn.functional.avg_pool1d(
            source[:, first:last].transpose(1, 2), 2 * reach + 1, 1, reach, count_include_pad=False
        )
        out[:, start : start + CHUNK_FRAMES, dim:] = mean[..., start - first : start - first + CHUNK_FRAMES].transpose(
            1, 2
        )
    return out
