"""Mel power with a separate mel bank per clip, as a sum over the few bins of each band instead of a matrix product.

Symbols: B clips, T frames, K frequency bins, M mel bands. A dense bank has K times M weights per clip, of which each
bin has only two that are not zero. Building such banks, one per pitch ratio, takes far longer than applying them."""

from __future__ import annotations

import numpy as np

from ssltoolkit.jit import jit

#: frames processed per weight read
_TOGETHER = 4


@jit(nogil=True, error_model="numpy")
def _triangle(bins, first, lower, centre, upper, weights):
    """Fill the weights of a band's bins; returns its first bin (searched from ``first`` in both directions) and last
    bin + 1.
    """
    while first > 0 and bins[first - 1] > lower:
        first -= 1
    while first < len(bins) and bins[first] <= lower:
        first += 1
    last = first
    while last < len(bins) and not bins[last] >= upper:  # a NaN edge makes every sum NaN
        rising = (bins[last] - lower) / (centre - lower)
        falling = (upper - bins[last]) / (upper - centre)
        weights[last - first] = min(rising, falling)
        last += 1
    return first, last


# "contract" allows fused multiply-add but not reordering of sums, so a frame's values do not depend on its position in
# the batch.
@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _sum_bands(power, bins, edges, mel):
    """Fill mel (B, T, M) from power (B, T, K) and the edges (B, 3, M) of each clip's bands."""
    clips, frames, count = power.shape
    bands = edges.shape[2]
    weights = np.empty((bands, count), np.float32)
    first, last = np.zeros(bands, np.int64), np.zeros(bands, np.int64)
    whole = frames - frames % _TOGETHER
    for b in range(clips):
        start = 0
        for m in range(bands):
            start, last[m] = _triangle(bins, start, edges[b, 0, m], edges[b, 1, m], edges[b, 2, m], weights[m])
            first[m] = start
        for t in range(0, whole, _TOGETHER):
            for m in range(bands):
                one, two, three, four = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                for k in range(first[m], last[m]):
                    weight = weights[m, k - first[m]]
                    one += power[b, t, k] * weight
                    two += power[b, t + 1, k] * weight
                    three += power[b, t + 2, k] * weight
                    four += power[b, t + 3, k] * weight
                mel[b, t, m], mel[b, t + 1, m], mel[b, t + 2, m], mel[b, t + 3, m] = one, two, three, four
        for t in range(whole, frames):
            for m in range(bands):
                one = np.float32(0)
                for k in range(first[m], last[m]):
                    one += power[b, t, k] * weights[m, k - first[m]]
                mel[b, t, m] = one


def warped_mel(power: np.ndarray, bins: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mel power (B, T, M) float32 of a power spectrogram (B, T, K).

    Runs in one thread without the GIL, in tens of microseconds per clip.

    Args:
        power: float32.
        bins: (K,) float32, frequencies of the bins in ascending order, Hz.
        edges: (B, 3, M) float32, lower edge, centre and upper edge of each clip's bands, Hz.

    Raises:
        ValueError: inconsistent shapes.
    """
    clips, frames, count = power.shape
    if bins.shape != (count,) or edges.ndim != 3 or edges.shape[:2] != (clips, 3):
        raise ValueError(f"power {power.shape}, bins {bins.shape} and edges {edges.shape} do not match")
    mel = np.empty((clips, frames, edges.shape[2]), np.float32)
    _sum_bands(np.ascontiguousarray(power, np.float32), bins, np.ascontiguousarray(edges), mel)
    return mel
