"""Rows of embedding matrices as training batches, standardised, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

import numpy as np

if TYPE_CHECKING:  # reading tasks and data directories needs no torch
    import torch

#: sets of up to this many bytes (float32) are read into memory, larger ones are read through the memory map
MEMORY_BYTES = 1 << 30
CHUNK_ROWS = 16384


class Features:
    """Selected rows of one or several matrices (usually memory maps), in a fixed order.

    Args:
        parts: pairs of a matrix (n, D) float32 and the row indices to use, int64.
        memory_bytes: largest set that is copied into memory.
    """

    def __init__(self, parts: Sequence[Tuple[np.ndarray, np.ndarray]], memory_bytes: int = MEMORY_BYTES) -> None:
        self._parts: List[Tuple[np.ndarray, np.ndarray]] = [(m, np.asarray(r, dtype=np.int64)) for m, r in parts]
        self._ends = np.cumsum([len(rows) for _, rows in self._parts])
        self.dim = int(self._parts[0][0].shape[1])
        self.mean, self.scale = np.zeros(self.dim, np.float32), np.ones(self.dim, np.float32)
        self._loaded: Optional[np.ndarray] = None
        if 4 * len(self) * self.dim <= memory_bytes:
            self._loaded = self._gather(np.arange(len(self)))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _gather(self, positions: np.ndarray) -> np.ndarray:
        part = np.searchsorted(self._ends, positions, side="right")
        out = np.empty((len(positions), self.dim), dtype=np.float32)
        for p, (matrix, rows) in enumerate(self._parts):
            here = np.flatnonzero(part == p)
            if len(here):
                start = self._ends[p] - len(rows)
                wanted = rows[positions[here] - start]
                # Read the memory map in file order: neighbouring rows share pages.
                order = np.argsort(wanted, kind="stable")
                out[here[order]] = matrix[wanted[order]]
        return out

    def take(self, positions: np.ndarray) -> torch.Tensor:
        """Standardised rows at these positions, float32 (n, D)."""
        import torch

        if self._loaded is not None:
            return torch.from_numpy(self._loaded).index_select(0, torch.from_numpy(positions))
        return torch.from_numpy((self._gather(positions) - self.mean) * self.scale)

    def chunks(self, size: int = CHUNK_ROWS):
        """All standardised rows in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def statistics(self) -> Tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of every column, float64 (D,), in one pass over the unstandardised rows."""
        count, mean, square = 0, np.zeros(self.dim), np.zeros(self.dim)
        for start in range(0, len(self), CHUNK_ROWS):
            positions = np.arange(start, min(start + CHUNK_ROWS, len(self)))
            rows = self._gather(positions).astype(np.float64)
            n, new = len(rows), rows.mean(axis=0)
            # Parallel-variance update of Chan et al. (1979).
            square += ((rows - new) ** 2).sum(axis=0) + (new - mean) ** 2 * count * n / (count + n)
            mean += (new - mean) * n / (count + n)
            count += n
        return mean, np.sqrt(square / max(count, 1))

    def standardise(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Return ``(row - mean) / deviation`` from now on; constant columns become 0."""
        constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
        scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
        self.transform(mean.astype(np.float32), scale.astype(np.float32))

    def transform(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Return ``(row - mean) * scale`` from now on; both float32 (D,)."""
        if (mean == self.mean).all() and (scale == self.scale).all():
            return
        if self._loaded is not None:
            self._loaded = self._gather(np.arange(len(self)))
            self._loaded -= mean
            self._loaded *= scale
        self.mean, self.scale = mean, scale
