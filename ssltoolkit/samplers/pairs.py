"""Frame pairs of two views of each clip, drawn by a numba kernel: the positive of each anchor frame and its negatives.

Symbols: B clips, T frames a view at most, K negatives from the same clip, M from other clips. Frame t of view v of clip b
has the absolute time ``start[b, v] + rate[b, v] * (t + 0.5) * hop`` and the flat index ``b * T + t``.

Every clip draws from its own counter-based stream (SplitMix64, Steele et al. 2014), so the pairs depend on the seed alone,
not on the number of threads.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np

from ssltoolkit.errors import check_range

NONE = -1


def _writable_cache() -> None:
    """Give numba a cache folder it can write: beside the package, else a private temporary one."""
    beside = os.path.join(os.path.dirname(__file__), "__pycache__")
    usable = beside if os.path.isdir(beside) else os.path.dirname(__file__)
    if "NUMBA_CACHE_DIR" not in os.environ and not os.access(usable, os.W_OK):
        folder = os.path.join(tempfile.gettempdir(), f"ssltoolkit-numba-{os.getuid() if hasattr(os, 'getuid') else 'user'}")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if os.stat(folder).st_uid == os.getuid():
                os.environ["NUMBA_CACHE_DIR"] = folder
        except (OSError, AttributeError):
            pass


_writable_cache()
import numba  # noqa: E402  (reads NUMBA_CACHE_DIR when imported)

_GOLDEN, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _jit(**options: object) -> Callable:
    """``numba.njit`` with an on-disk cache where there is a place for it, without one elsewhere."""

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            warnings.warn(f"compiled anew in every process: {error}", stacklevel=2)
            return numba.njit(**options)(function)

    return decorate


@dataclass
class FramePairs:
    """Flat indices of frames; -1 where there is none.

    Attributes:
        anchor: (N,) int64, frames of the first view that have a positive.
        positive: (N,) int64, frames of the second view.
        same: (N, K) int64, negatives of the second view from the same clip.
        other: (N, M) int64, negatives of the second view from other clips.
    """

    anchor: np.ndarray
    positive: np.ndarray
    same: np.ndarray
    other: np.ndarray


@_jit()
def _uniform(state: np.uint64, counter: np.uint64) -> float:
    """The ``counter``-th number in [0, 1) of a stream."""
    z = state + (counter + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@_jit()
def _first_not_below(times: np.ndarray, count: int, value: float) -> int:
    """Index of the first of ``count`` increasing times that is not below ``value``."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if times[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@_jit(parallel=True)
def _draw(start, rate, length, loud, hop, tolerance, min_gap, max_gap, balanced, seed, anchor, positive, same, other):
    """Fill the (B, T, ...) outputs; see :func:`sample_pairs`."""
    clips, frames = anchor.shape
    # Candidates of the second view: its audible frames and their times, packed at the front.
    candidate = np.empty((clips, frames), np.int64)
    time = np.empty((clips, frames), np.float64)
    count = np.zeros(clips, np.int64)
    for b in range(clips):
        for t in range(length[b, 1]):
            if loud[b, 1, t]:
                candidate[b, count[b]] = t
                time[b, count[b]] = start[b, 1] + rate[b, 1] * (t + 0.5) * hop
                count[b] += 1
    usable = np.flatnonzero(count > 0)
    place = np.full(clips, -1, np.int64)
    for i in range(len(usable)):
        place[usable[i]] = i
    draws = same.shape[2] + 2 * other.shape[2]
    for b in numba.prange(clips):
        state = np.uint64(seed) ^ (np.uint64(b + 1) * _MIX2)
        others = len(usable) - (1 if place[b] >= 0 else 0)
        for t in range(length[b, 0]):
            if not loud[b, 0, t] or count[b] == 0:
                continue
            moment = start[b, 0] + rate[b, 0] * (t + 0.5) * hop
            after = _first_not_below(time[b], count[b], moment)
            nearest = after if after < count[b] else count[b] - 1
            if after > 0 and (after == count[b] or moment - time[b, after - 1] <= time[b, after] - moment):
                nearest = after - 1
            if abs(time[b, nearest] - moment) > tolerance:
                continue
            anchor[b, t] = b * frames + t
            positive[b, t] = b * frames + candidate[b, nearest]
            # Negatives lie in two runs of candidates: [low, before) and [behind, high).
            low = _first_not_below(time[b], count[b], moment - max_gap)
            before = _first_not_below(time[b], count[b], np.nextafter(moment - min_gap, np.inf))
            behind = _first_not_below(time[b], count[b], moment + min_gap)
            high = _first_not_below(time[b], count[b], np.nextafter(moment + max_gap, np.inf))
            # However small the gap, the positive is not its own negative.
            before, behind = max(low, min(before, nearest)), max(behind, nearest + 1)
            early, total = before - low, before - low + max(0, high - behind)
            base = np.uint64(t * draws)
            for k in range(same.shape[2]):
                if total == 0:
                    break
                u = _uniform(state, base + np.uint64(k))
                if balanced:
                    u = (k + u) / same.shape[2]
                pick = min(int(u * total), total - 1)
                row = low + pick if pick < early else behind + pick - early
                same[b, t, k] = b * frames + candidate[b, row]
            for m in range(other.shape[2]):
                if others == 0:
                    break
                first = base + np.uint64(same.shape[2] + 2 * m)
                pick = min(int(_uniform(state, first) * others), others - 1)
                if place[b] >= 0 and pick >= place[b]:
                    pick += 1
                clip = usable[pick]
                row = min(int(_uniform(state, first + np.uint64(1)) * count[clip]), count[clip] - 1)
                other[b, t, m] = clip * frames + candidate[clip, row]


def sample_pairs(
    start_ms: np.ndarray,
    lengths: np.ndarray,
    frames: int,
    hop_ms: float,
    seed: int,
    same: int = 16,
    other: int = 0,
    tolerance_ms: Optional[float] = None,
    min_gap_ms: float = 100.0,
    max_gap_ms: float = float("inf"),
    balanced: bool = False,
    rate: Optional[np.ndarray] = None,
    energy: Optional[np.ndarray] = None,
    energy_floor: float = float("-inf"),
) -> FramePairs:
    """Draw the positive and the negatives of every anchor frame.

    Args:
        start_ms: (B, 2) start of the two views of each clip.
        lengths: (B, 2) valid frames of each view, at most ``frames``.
        frames: T.
        hop_ms: distance of frame centres.
        seed: of the draws.
        same: K; drawn with replacement from the clip's second view.
        other: M; drawn with replacement from the second views of other clips.
        tolerance_ms: largest distance of anchor and positive in time; half a hop when None.
        min_gap_ms: negatives of the same clip are at least this far from the anchor.
        max_gap_ms: and at most this far: hard negatives lie just outside the gap.
        balanced: spread the K negatives evenly over the candidates in time.
        rate: (B, 2) seconds of the clip for each second of the view (tempo); 1 when None.
        energy: optional (B, 2, T) level of each frame; frames below ``energy_floor`` are no anchors, positives or negatives.

    Returns:
        indices; empty where no frame has a positive.

    Raises:
        ParameterError: a value out of range. ValueError: arrays of the wrong shape.
    """
    for name, value in (("same", same), ("other", other), ("min_gap_ms", min_gap_ms), ("frames", frames)):
        check_range(name, value, 0)
    check_range("hop_ms", hop_ms, 0.0, open_low=True)
    check_range("max_gap_ms", max_gap_ms, min_gap_ms)
    if tolerance_ms is not None:
        check_range("tolerance_ms", tolerance_ms, 0.0)
    start = np.ascontiguousarray(start_ms, dtype=np.float64)
    clips = len(start)
    length = np.ascontiguousarray(lengths, dtype=np.int64)
    speed = np.ones_like(start) if rate is None else np.ascontiguousarray(rate, dtype=np.float64)
    loud = np.ones((clips, 2, frames), dtype=np.bool_) if energy is None else np.asarray(energy) >= energy_floor
    if start.shape != (clips, 2) or length.shape != start.shape or speed.shape != start.shape or loud.shape != (clips, 2, frames):
        raise ValueError(f"expected (B, 2) starts, lengths and rates and (B, 2, {frames}) energies")
    if clips and (length.min() < 0 or length.max() > frames or not speed.min() > 0 or not np.isfinite(start).all()):
        raise ValueError(f"starts must be finite, lengths lie in 0 ... {frames} and rates be positive")
    anchor, positive = (np.full((clips, frames), NONE, dtype=np.int64) for _ in range(2))
    near, far = (np.full((clips, frames, size), NONE, dtype=np.int64) for size in (same, other))
    tolerance = hop_ms / 2 if tolerance_ms is None else tolerance_ms
    _draw(start, speed, length, np.ascontiguousarray(loud), float(hop_ms), float(tolerance), float(min_gap_ms),
          float(max_gap_ms), balanced, seed & (2**64 - 1), anchor, positive, near, far)
    kept = anchor.ravel() >= 0
    return FramePairs(anchor.ravel()[kept], positive.ravel()[kept], near.reshape(-1, same)[kept] if same else near.reshape(clips * frames, 0)[kept],
                      far.reshape(-1, other)[kept] if other else far.reshape(clips * frames, 0)[kept])
