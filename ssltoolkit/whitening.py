"""Whitening of frozen embeddings: a fixed affine map, fitted to unlabelled audio, after which its values are
uncorrelated.

An embedding of thousands of correlated values is more than a small labelled set can use. Whitening rotates it onto its
principal directions, scales these to a like size and keeps the strongest; nothing of it is learned from labels.

Symbols: n embeddings fitted to, D values, K kept."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

#: added to the deviation along each direction before it is divided by: directions of little variance are mostly noise
FLOOR = 0.3
#: fewer embeddings than this say too little of what varies
FEWEST = 200


class Whitening(nn.Module):
    """y = (x - mean) / deviation projected onto K principal directions, each divided by (its deviation + ``FLOOR``).

    Columns in ``kept`` are not rotated: they follow the whitened ones, standardised.

    Args:
        dim: D.
        size: K, of the whitened columns.
        kept: (first, one after the last) of the columns left out of the rotation.

    Shape:
        (..., D) to (..., K + number of kept columns).

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)
        >>> Whitening.fitted(rows, size=4)(torch.from_numpy(rows)).shape
        torch.Size([400, 4])
    """

    def __init__(self, dim: int, size: int, kept: Sequence[Tuple[int, int]] = ()) -> None:
        super().__init__()
        self.dim, self.kept = dim, tuple((int(first), int(last)) for first, last in kept)
        self.rotated = _others(dim, self.kept)
        width = sum(last - first for first, last in self.rotated)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        # Eight bits a weight: far finer than what differs between two drawings of the audio, at a quarter of the size
        # of a file.
        self.register_buffer("directions", torch.zeros(width, size, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(size))
        self.out_dim = size + dim - width

    def forward(self, x: Tensor) -> Tensor:
        normal = (x - self.mean) / self.deviation
        parts = [_columns(normal, self.rotated) @ self.directions.float() * self.scale]
        if self.kept:
            parts.append(_columns(normal, self.kept))
        return torch.cat(parts, dim=-1)

    @staticmethod
    def fitted(
        rows: np.ndarray,
        size: int,
        kept: Sequence[Tuple[int, int]] = (),
        apart: Sequence[Tuple[Sequence[Tuple[int, int]], int]] = (),
    ) -> "Whitening":
        """The whitening of these embeddings.

        Args:
            rows: (n, D) float32.
            size: K; fewer where there are fewer directions or fewer than 2 K rows.
            kept: columns left out of the rotation.
            apart: columns rotated by themselves, and how many of the K directions they get; the others share the rest.

        Raises:
            ValueError: fewer than ``FEWEST`` rows, or values that are not finite.
        """
        if len(rows) < FEWEST:
            raise ValueError(f"{len(rows)} embeddings are too few to whiten by; {FEWEST} or more are needed")
        if not np.isfinite(rows).all():
            raise ValueError("embeddings that are not finite cannot be whitened")
        mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
        # a constant value becomes 0
        deviation = np.where(deviation > 1e-6 * max(deviation.max(), 1e-12), deviation, np.inf)
        rotated = _others(rows.shape[1], kept)
        if not rotated:
            raise ValueError("every column is left out of the rotation")
        normal = np.concatenate(
            [((rows[:, first:last] - mean[first:last]) / deviation[first:last]) for first, last in rotated], axis=1
        )
        borne = min(size, max(1, len(rows) // 2))
        apart = [(places, max(1, round(count * borne / size))) for places, count in apart]
        directions = np.concatenate([_directions(normal, *share) for share in _shares(rotated, apart, borne)], axis=1)
        made = Whitening(rows.shape[1], directions.shape[1], kept)
        made.mean.copy_(torch.from_numpy(mean))
        made.deviation.copy_(torch.from_numpy(np.where(np.isfinite(deviation), deviation, 1e12)))
        scale = np.maximum(np.abs(directions).max(0), 1e-12) / 127.0
        made.scale.copy_(torch.from_numpy(scale))
        made.directions.copy_(torch.from_numpy(np.round(directions / scale)))
        return made


def _directions(normal: np.ndarray, columns: np.ndarray, count: int) -> np.ndarray:
    """(D, count) principal directions of some columns of (n, D), each divided by its deviation + ``FLOOR``; 0 in the
    other columns.
    """
    part = normal[:, columns]
    values, vectors = np.linalg.eigh(part.T @ part / len(part))
    strongest = np.argsort(values)[::-1][:count]
    directions = vectors[:, strongest] / (np.sqrt(np.maximum(values[strongest], 0.0)) + FLOOR)
    # The sign of a direction is arbitrary: the largest weight is positive.
    directions *= np.sign(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])])
    placed = np.zeros((normal.shape[1], directions.shape[1]))
    placed[columns] = directions
    return placed


def _shares(
    rotated: Sequence[Tuple[int, int]], apart: Sequence[Tuple[Sequence[Tuple[int, int]], int]], size: int
) -> List[Tuple[np.ndarray, int]]:
    """Columns (indices into those that are rotated) and number of directions of each part; the part without a number
    comes first.
    """
    numbers = np.concatenate([np.arange(first, last) for first, last in rotated])
    groups = [
        (np.flatnonzero(np.isin(numbers, np.concatenate([np.arange(*place) for place in places]))), count)
        for places, count in apart
    ]
    taken = np.concatenate([columns for columns, _ in groups]) if groups else np.zeros(0, dtype=int)
    rest = np.setdiff1d(np.arange(len(numbers)), taken)
    shares = [(columns, min(count, len(columns))) for columns, count in groups]
    left = max(1, size - sum(count for _, count in shares))
    return [(rest, min(left, len(rest))), *shares] if len(rest) else shares


def _columns(x: Tensor, places: Sequence[Tuple[int, int]]) -> Tensor:
    parts = [x[..., first:last] for first, last in places]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _others(dim: int, kept: Sequence[Tuple[int, int]]) -> List[Tuple[int, int]]:
    """The columns of ``dim`` that are in none of ``kept``."""
    edges = [0, *(edge for columns in sorted(kept) for edge in columns), dim]
    return [(first, last) for first, last in zip(edges[::2], edges[1::2]) if last > first]
