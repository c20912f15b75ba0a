"""Streaming of long audio in chunks: frame context and scene pooling without all frames in memory.

Shapes: B batch, n frames of a chunk, T' frames in total, D embedding size."""

from __future__ import annotations

from typing import Iterable, Iterator, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ssltoolkit.embedding.frozen import context_reach, with_context
from ssltoolkit.encoders.base import ScenePooling
from ssltoolkit.exporting import exporting


class RunningScenes:
    """Running pooling of frames to scenes; keeps only maxima, means and squared deviations.

    A single chunk is pooled directly. Means and deviations of several chunks are merged in float64 (Chan et al. 1983,
    "Algorithms for Computing the Sample Variance").

    Args:
        pool: frames to scenes.

    Example:
        >>> from ssltoolkit.registry import build
        >>> running = RunningScenes(ScenePooling(build("encoder", "cnn_small", n_mels=64), "max+mean"))
        >>> frames = torch.cat(list(running.watching([torch.ones(1, 5, 784), torch.zeros(1, 5, 784)])), dim=1)
        >>> frames.shape, running.scenes().shape
        (torch.Size([1, 10, 784]), torch.Size([1, 1568]))
    """

    def __init__(self, pool: ScenePooling) -> None:
        self.pool = pool
        self._first: Optional[Tensor] = None
        self._count = 0
        self._max = self._mean = self._squares = torch.empty(0)

    def watching(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the chunks (B, n, D) unchanged and add each to the pooling."""
        for part in parts:
            self.add(part)
            yield part

    def add(self, frames: Tensor) -> None:
        """Add the next frames (B, n, D)."""
        if self._first is None and not self._count:
            self._first = frames
            return
        if self._first is not None:
            first, self._first = self._first, None
            self._merge(first)
        self._merge(frames)

    def _merge(self, frames: Tensor) -> None:
        exact, count = frames.double(), frames.shape[1]
        largest, mean = frames.amax(dim=1), exact.mean(dim=1)
        squares = (exact - mean[:, None]).square().sum(dim=1)
        if not self._count:
            self._max, self._mean, self._squares, self._count = largest, mean, squares, count
            return
        total, difference = self._count + count, mean - self._mean
        self._max = torch.maximum(self._max, largest)
        self._squares = self._squares + squares + difference.square() * (self._count * count / total)
        self._mean = self._mean + difference * (count / total)
        self._count = total

    def scenes(self) -> Tensor:
        """(B, scene size) float32 of all frames added."""
        if self._first is not None:
            return self.pool(self._first)
        pooled = {"max": self._max, "mean": self._mean.float(), "std": (self._squares / self._count).sqrt().float()}
        return torch.cat(
            [
                pooled[part][:, first:last]
                for (first, last), pooling in self.pool.pools.items()
                for part in pooling.split("+")
            ],
            dim=-1,
        )


def context_stretches(
    parts: Iterable[Tensor], seconds: float, hop_ms: float, columns: Optional[Sequence[Tuple[int, int]]] = None
) -> Iterator[Tensor]:
    """Apply :func:`with_context` chunk by chunk; about two chunks are in memory.

    Args:
        parts: (B, n, D) each, in order.
        seconds, hop_ms, columns: see :func:`with_context`.
    """
    if not seconds:
        yield from parts
        return
    reach = context_reach(seconds, hop_ms)
    held: Optional[Tensor] = None  # frames not yet yielded, after `before` frames of context
    before = 0
    for part in parts:
        if held is None:
            held = part
            continue
        ready = held.shape[1] - reach  # frames from here on also need frames of the next chunk
        if ready > before:
            yield with_context(held, seconds, hop_ms, columns)[:, before:ready]
            first = max(0, ready - reach)
            held, before = held[:, first:], ready - first
        held = torch.cat([held, part], dim=1)
    if held is not None:
        whole = with_context(held, seconds, hop_ms, columns)
        yield whole[:, before:] if before else whole


def joined(parts: Iterator[Tensor], count: int) -> Tensor:
    """Concatenate chunks to (B, ``count``, D) without ever holding the frames twice."""
    first = next(parts)
    if exporting() or first.shape[1] == count:
        for _ in parts:  # run the generator to its end, so that RunningScenes sees every chunk
            raise ValueError(f"more than the expected {count} frames")
        return first
    out = first.new_empty(len(first), count, first.shape[2])
    place = first.shape[1]
    out[:, :place] = first
    for part in parts:
        out[:, place : place + part.shape[1]] = part
        place += part.shape[1]
    if place != count:
        raise ValueError(f"{place} frames instead of {count}")
    return out
