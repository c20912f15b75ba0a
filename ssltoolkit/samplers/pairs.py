"""Frame pairs of two views of each clip, drawn by a numba kernel: the positive and the negatives of each anchor frame.

Symbols: B clips, at most T frames per view, K negatives from the same clip, M from other clips. Frame t of view v of
clip b has the absolute time ``start[b, v] + rate[b, v] * (t + 0.5) * hop`` and the flat index ``b * T + t``.

Every clip draws from its own counter-based stream (SplitMix64, Steele et al. 2014), so the pairs depend only on the
seed. The kernel uses one thread: it draws a large batch in a few milliseconds, less than it costs to wake other threads
during a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from ssltoolkit.errors import check_range
from ssltoolkit.jit import jit

NONE = -1

_GOLDEN, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass
class FramePairs:
    """Flat frame indices; -1 marks a missing frame.

    Attributes:
        anchor: (N,) int32, frames of the first view that have a positive.
        positive: (N,) int32, frames of the second view.
        same: (N, K) int32, negatives of the second view from the same clip.
        other: (N, M) int32, negatives of the second view from other clips.
    """

    anchor: np.ndarray
    positive: np.ndarray
    same: np.ndarray
    other: np.ndarray


@jit()
def _uniform(state: np.uint64, counter: np.uint64) -> float:
    """The ``counter``-th number in [0, 1) of a stream."""
    z = state + (counter + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@jit(error_model="numpy")
def _pick(state, base, balanced, low, early, skip, total, place):
    """Draw positions from ``total`` candidates in two runs: draws below ``early`` are offset by ``low``, the others by
    ``skip``.

    The loop reads no array, so that the compiler can vectorise it.
    """
    count = len(place)
    for k in range(count):
        u = _uniform(state, base + np.uint64(k))
        u = (k + u) / count if balanced else u
        pick = min(np.int32(u * total), np.int32(total - 1))
        place[k] = pick + (low if pick < early else skip)


@jit(nogil=True, error_model="numpy")
def _match(start, rate, length, loud, hop, tolerance, candidate, time, count, match, hits):
    """Find the candidates of every clip (audible frames of its second view, packed at the front, with their times), and
    for every anchor frame the candidate at its time; -1 if none is within the tolerance."""
    clips, frames = match.shape
    for b in range(clips):
        found = 0
        for t in range(length[b, 1]):
            if loud[b, 1, t]:
                candidate[b, found] = t
                time[b, found] = start[b, 1] + rate[b, 1] * (t + 0.5) * hop
                found += 1
        count[b] = found
        after, matched = 0, 0
        for t in range(frames):
            match[b, t] = -1
            if found == 0 or t >= length[b, 0] or not loud[b, 0, t]:
                continue
            moment = start[b, 0] + rate[b, 0] * (t + 0.5) * hop
            while after < found and time[b, after] < moment:
                after += 1
            nearest = after if after < found else found - 1
            if after > 0 and (after == found or moment - time[b, after - 1] <= time[b, after] - moment):
                nearest = after - 1
            if abs(time[b, nearest] - moment) <= tolerance:
                match[b, t] = nearest
                matched += 1
        hits[b] = matched


@jit(nogil=True, error_model="numpy")
def _draw(
    start,
    rate,
    hop,
    min_gap,
    max_gap,
    balanced,
    seed,
    candidate,
    time,
    count,
    match,
    row,
    anchor,
    positive,
    same,
    other,
):
    """Fill the outputs, clip b from row ``row[b]`` on; see :func:`sample_pairs`."""
    clips, frames = match.shape
    usable = np.flatnonzero(count > 0)
    place = np.full(clips, -1, np.int64)
    for i in range(len(usable)):
        place[usable[i]] = i
    wanted, foreign = same.shape[1], other.shape[1]
    drawn = np.empty(wanted, np.int32)
    for b in range(clips):
        state = np.uint64(seed) ^ (np.uint64(b + 1) * _MIX2)
        others = len(usable) - (1 if place[b] >= 0 else 0)
        n, flat = row[b], b * frames
        low, near, far, high = 0, 0, 0, 0
        for t in range(frames):
            nearest = match[b, t]
            if nearest < 0:
                continue
            anchor[n], positive[n] = flat + t, flat + candidate[b, nearest]
            moment = start[b, 0] + rate[b, 0] * (t + 0.5) * hop
            # Negatives lie in two runs of candidates: [low, before) and [behind, high).
            # Times increase within a clip, and so do the ends of the runs.
            while low < count[b] and time[b, low] < moment - max_gap:
                low += 1
            while near < count[b] and time[b, near] <= moment - min_gap:
                near += 1
            while far < count[b] and time[b, far] < moment + min_gap:
                far += 1
            while high < count[b] and time[b, high] <= moment + max_gap:
                high += 1
            # The positive is never among the negatives, however small the gap.
            before, behind = max(low, min(near, nearest)), max(far, nearest + 1)
            early, total = before - low, before - low + max(0, high - behind)
            base = np.uint64(t * (wanted + 2 * foreign))
            skip = behind - early
            if total:
                _pick(state, base, balanced, low, early, skip, total, drawn)
                for k in range(wanted):
                    same[n, k] = flat + candidate[b, drawn[k]]
            else:
                same[n] = NONE
            for m in range(foreign):
                first = base + np.uint64(wanted + 2 * m)
                pick = min(int(_uniform(state, first) * others), others - 1)
                if place[b] >= 0 and pick >= place[b]:
                    pick += 1
                clip = usable[max(pick, 0)]
                index = min(int(_uniform(state, first + np.uint64(1)) * count[clip]), count[clip] - 1)
                other[n, m] = clip * frames + candidate[clip, index] if others else NONE
            n += 1


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
        lengths: (B, 2) number of valid frames of each view, at most ``frames``.
        frames: T.
        hop_ms: distance between frame centres.
        seed: seed of the draws.
        same: K; drawn with replacement from the clip's second view.
        other: M; drawn with replacement from the second views of other clips.
        tolerance_ms: largest time difference of anchor and positive; None for half a hop.
        min_gap_ms: smallest distance of a same-clip negative from the anchor.
        max_gap_ms: largest such distance; hard negatives lie just outside the minimum.
        balanced: spread the K negatives evenly over the candidates in time.
        rate: (B, 2) seconds of the clip per second of the view (tempo); None for 1.
        energy: optional (B, 2, T) level of each frame; frames below ``energy_floor`` are never anchors, positives or
            negatives.

    Returns:
        indices; empty if no frame has a positive.

    Raises:
        ParameterError: a value out of range. ValueError: arrays of the wrong shape.

    Example:
        >>> starts, lengths = np.zeros((2, 2)), np.full((2, 2), 24)
        >>> pairs = sample_pairs(starts, lengths, frames=24, hop_ms=40.0, seed=0, same=4, other=4)
        >>> pairs.anchor.shape, pairs.same.shape
        ((48,), (48, 4))
    """
    for name, value in (("same", same), ("other", other), ("min_gap_ms", min_gap_ms), ("frames", frames)):
        check_range(name, value, 0)
    check_range("hop_ms", hop_ms, 0.0, open_low=True)
    if max_gap_ms != float("inf"):  # no limit
        check_range("max_gap_ms", max_gap_ms, min_gap_ms)
    if tolerance_ms is not None:
        check_range("tolerance_ms", tolerance_ms, 0.0)
    start = np.ascontiguousarray(start_ms, dtype=np.float64)
    clips = len(start)
    length = np.ascontiguousarray(lengths, dtype=np.int64)
    speed = np.ones_like(start) if rate is None else np.ascontiguousarray(rate, dtype=np.float64)
    loud = np.ones((clips, 2, frames), dtype=np.bool_) if energy is None else np.asarray(energy) >= energy_floor
    if clips * frames > np.iinfo(np.int32).max:
        raise ValueError(f"{clips} clips of {frames} frames are more than 32-bit indices can count")
    if (
        start.shape != (clips, 2)
        or length.shape != start.shape
        or speed.shape != start.shape
        or loud.shape != (clips, 2, frames)
    ):
        raise ValueError(f"expected (B, 2) starts, lengths and rates and (B, 2, {frames}) energies")
    if clips and (length.min() < 0 or length.max() > frames or not speed.min() > 0 or not np.isfinite(start).all()):
        raise ValueError(f"starts must be finite, lengths lie in 0 ... {frames} and rates be positive")
    tolerance = hop_ms / 2 if tolerance_ms is None else tolerance_ms
    candidate, match = (np.empty((clips, frames), dtype=np.int32) for _ in range(2))
    time = np.empty((clips, frames))
    count, hits = (np.empty(clips, dtype=np.int64) for _ in range(2))
    _match(
        start,
        speed,
        length,
        np.ascontiguousarray(loud),
        float(hop_ms),
        float(tolerance),
        candidate,
        time,
        count,
        match,
        hits,
    )
    # Count first, so that the large outputs are allocated at their final size and written once.
    total = int(hits.sum())
    anchor, positive = (np.empty(total, dtype=np.int32) for _ in range(2))
    near, far = (np.empty((total, size), dtype=np.int32) for size in (same, other))
    _draw(
        start,
        speed,
        float(hop_ms),
        float(min_gap_ms),
        float(max_gap_ms),
        balanced,
        seed & (2**64 - 1),
        candidate,
        time,
        count,
        match,
        np.cumsum(hits) - hits,
        anchor,
        positive,
        near,
        far,
    )
    return FramePairs(anchor, positive, near, far)
