"""Cuts, the segments to read from a clip, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence

import numpy as np
from torch import Tensor

from ssltoolkit.distributed.collectives import Shard
from ssltoolkit.errors import check_range


@dataclass(frozen=True)
class Cut:
    """A random segment of each clip.

    Args:
        name: cuts of different names are drawn independently; views of equal cuts see the same audio.
        near: name of another cut that this one is drawn around; None for anywhere in the clip.
        max_offset: with ``near``, largest distance between the two starts, seconds.
    """

    name: str = "anchor"
    near: Optional[str] = None
    max_offset: float = 0.0

    def __post_init__(self) -> None:
        check_range("max_offset", self.max_offset, 0.0, 86400.0)


@dataclass
class Batch:
    """Segments of one step.

    Attributes:
        waves: cut -> (B, N) float32 in [-1, 1]; with a shard, only its rows.
        starts: cut -> (B,) float64, seconds.
        seed: integers that determine every random draw of the step.
        utt_ids: ids of the B clips.
        shard: the rows of this process, None for all.
        periods: (B,) float64, seconds after which a clip shorter than its segment repeats, inf for longer clips; None
            if no clip is shorter.
        groups: (B,) int64, group of each clip, -1 for none; None if groups are not used.
    """

    waves: Dict[Cut, Tensor]
    starts: Dict[Cut, np.ndarray]
    seed: Sequence[int]
    utt_ids: List[str]
    shard: Optional[Shard] = None
    periods: Optional[np.ndarray] = None
    groups: Optional[np.ndarray] = None


def drawing_order(cuts: Sequence[Cut]) -> List[Cut]:
    """The cuts in drawing order: those without ``near`` come first."""
    return sorted(cuts, key=lambda cut: (cut.near is not None, cut.name))


def draw_starts(
    cuts: Sequence[Cut], num_samples: np.ndarray, segment: int, sample_rate: int, rng: np.random.Generator
) -> Dict[Cut, np.ndarray]:
    """Draw the start sample of every cut in every clip.

    Args:
        cuts: the cuts, including every cut named in ``near``.
        num_samples: (B,) clip lengths, samples.
        segment: segment length, samples.
        sample_rate: Hz.
        rng: random generator.

    Returns:
        cut -> (B,) int64; 0 in clips not longer than the segment.
    """
    latest = np.maximum(num_samples - segment, 0)
    starts: Dict[Cut, np.ndarray] = {}
    named: Dict[str, np.ndarray] = {}
    for cut in drawing_order(cuts):
        if cut.near is None:
            start = rng.integers(0, latest + 1)
        elif cut.near in named:
            reach = int(round(cut.max_offset * sample_rate))
            start = np.clip(named[cut.near] + rng.integers(-reach, reach + 1, len(latest)), 0, latest)
        else:
            raise ValueError(f"cut {cut.name!r} lies near {cut.near!r}, which no view uses")
        starts[cut] = named[cut.name] = start.astype(np.int64)
    return starts
