"""Global mean and variance of features, from streaming sums that can be merged."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Tuple, Union

import numpy as np

from ssltoolkit.errors import DataError, writing

if TYPE_CHECKING:  # sums need no torch
    from torch import Tensor

PathLike = Union[str, Path]


@dataclass
class Sums:
    """Sum (M,), sum of squares (M,) in float64 and count of frames."""

    total: np.ndarray
    squares: np.ndarray
    count: int

    @classmethod
    def zeros(cls, bands: int) -> "Sums":
        """Sums of zero frames."""
        return cls(np.zeros(bands), np.zeros(bands), 0)

    def add(self, frames: np.ndarray) -> None:
        """Add (T, M) frames."""
        frames = frames.astype(np.float64)
        self.total += frames.sum(0)
        self.squares += np.square(frames).sum(0)
        self.count += len(frames)

    def save(self, path: PathLike) -> None:
        """Write to an ``.npz`` file, atomically."""
        temporary = Path(str(path) + ".tmp.npz")
        with writing(temporary):
            np.savez(temporary, total=self.total, squares=self.squares, count=self.count)
        temporary.replace(path)

    @classmethod
    def load(cls, path: PathLike) -> "Sums":
        """Read a file written by :meth:`save`.

        Raises:
            DataError: missing or damaged file.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls(data["total"], data["squares"], int(data["count"]))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: not readable feature statistics ({type(error).__name__}); run stage 3 again"
            ) from None

    @classmethod
    def merged(cls, parts: Iterable["Sums"]) -> "Sums":
        """Sums over all parts, added in order."""
        parts = list(parts)
        merged = cls.zeros(len(parts[0].total))
        for part in parts:
            merged.total, merged.squares = merged.total + part.total, merged.squares + part.squares
            merged.count += part.count
        return merged

    def mean_std(self) -> Tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, each (M,) float64."""
        mean = self.total / self.count
        return mean, np.sqrt(np.maximum(self.squares / self.count - np.square(mean), 0.0))


def load_statistics(path: PathLike, bands: int) -> Tuple[Tensor, Tensor]:
    """Mean and standard deviation (M,) float32 from a statistics file of stage 3.

    Raises:
        DataError: missing, empty, or with a different number of bands.
    """
    import torch

    sums = Sums.load(path)
    if len(sums.total) != bands or sums.count < 1:
        raise DataError(
            f"{path}: {sums.count} frames of {len(sums.total)} bands, the frontend has {bands}; run stage 3 again "
            "with this configuration"
        )
    mean, std = sums.mean_std()
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()
