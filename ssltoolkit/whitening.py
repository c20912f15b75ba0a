"""Whitening of frozen embeddings: a fixed affine map, fitted to unlabelled audio, that decorrelates their values.

A small labelled set cannot use thousands of correlated values. Whitening projects an embedding onto its principal
directions, scales them to similar variance and keeps the strongest. It uses no labels.

Symbols: n embeddings to fit, D values, K kept."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

#: added to the standard deviation of each direction before dividing: directions of small variance are mostly noise
FLOOR = 0.3
#: fewest embeddings that give a usable covariance estimate
FEWEST = 200


class Whitening(nn.Module):
    """Standardise, project onto K principal directions and divide each by (its standard deviation + ``FLOOR``).

    Columns in ``kept`` are not rotated; they are standardised and appended.

    Args:
        dim: D.
        size: K, number of whitened columns.
        kept: (first, last + 1) of each range of columns that is not rotated.

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
        # 8-bit weights make the file a quarter of the size; the rounding is far below the difference between two
        # samples of the audio.
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
        """Fit the whitening to embeddings.

        Args:
            rows: (n, D) float32.
            size: K; reduced if there are fewer directions or fewer than 2 K rows.
            kept: column ranges that are not rotated.
            apart: column ranges rotated separately, and how many of the K directions each gets; all other columns
                share the rest.

        Raises:
            ValueError: fewer than ``FEWEST`` rows, non-finite values, or no column to rotate.
        """
        if len(rows) < FEWEST:
            raise ValueError(f"{len(rows)} embeddings are too few to fit a whitening; at least {FEWEST} are needed")
        if not np.isfinite(rows).all():
            raise ValueError("cannot fit a whitening: some embeddings are not finite")
        mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
        # a constant value becomes 0
        deviation = np.where(deviation > 1e-6 * max(deviation.max(), 1e-12), deviation, np.inf)
        rotated = _others(rows.shape[1], kept)
        if not rotated:
            raise ValueError("cannot fit a whitening: every column is excluded from the rotation")
        normal = np.concatenate(
            [((rows[:, first:last] - mean[first:last]) / deviation[first:last]) for first, last in rotated], axis=1
        )
        rank = min(size, max(1, len(rows) // 2))
        apart = [(ranges, max(1, round(count * rank / size))) for ranges, count in apart]
        directions = np.concatenate([_directions(normal, *share) for share in _shares(rotated, apart, rank)], axis=1)
        whitening = Whitening(rows.shape[1], directions.shape[1], kept)
        whitening.mean.copy_(torch.from_numpy(mean))
        whitening.deviation.copy_(torch.from_numpy(np.where(np.isfinite(deviation), deviation, 1e12)))
        scale = np.maximum(np.abs(directions).max(0), 1e-12) / 127.0
        whitening.scale.copy_(torch.from_numpy(scale))
        whitening.directions.copy_(torch.from_numpy(np.round(directions / scale)))
        return whitening


def _directions(normal: np.ndarray, columns: np.ndarray, count: int) -> np.ndarray:
    """(D, count) principal directions of some columns of (n, D), each divided by its standard deviation + ``FLOOR``;
    zero in the other columns.
    """
    part = normal[:, columns]
    values, vectors = np.linalg.eigh(part.T @ part / len(part))
    strongest = np.argsort(values)[::-1][:count]
    directions = vectors[:, strongest] / (np.sqrt(np.maximum(values[strongest], 0.0)) + FLOOR)
    # The sign of a direction is arbitrary: make the largest weight positive.
    directions *= np.sign(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])])
    placed = np.zeros((normal.shape[1], directions.shape[1]))
    placed[columns] = directions
    return placed


def _shares(
    rotated: Sequence[Tuple[int, int]], apart: Sequence[Tuple[Sequence[Tuple[int, int]], int]], size: int
) -> List[Tuple[np.ndarray, int]]:
    """(columns, number of directions) of each separately rotated part; columns index the rotated ones. The part with
    all remaining columns comes first.
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
    """Ranges of the ``dim`` columns that are not in ``kept``."""
    edges = [0, *(edge for columns in sorted(kept) for edge in columns), dim]
    return [(first, last) for first, last in zip(edges[::2], edges[1::2]) if last > first]
