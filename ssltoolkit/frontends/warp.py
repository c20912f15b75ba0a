"""Mel power through a bank of its own for each clip, as a sum over the few bins of each band instead of a matrix
product.

Symbols: B clips, T frames, K frequency bins, M mel bands. A dense bank holds K times M weights a clip, of which a
bin has two that are not zero: making such banks, one for each pitch ratio, takes far longer than applying them."""

from __future__ import annotations

import numpy as np

from ssltoolkit.jit import jit

#: frames that share each weight that is read
_TOGETHER = 4


@jit(nogil=True, error_model="numpy")
def _triangle(bins, first, lower, centre, upper, weights):
    """Weights of a band's bins; the first bin (searched for from bin ``first`` on, either way) and the one after the
    last.
    """
    while first > 0 and bins[first - 1] > lower:
        first -= 1
    while first < len(bins) and bins[first] <= lower:
        first += 1
    last = first
    while last < len(bins) and not bins[last] >= upper:  # an edge that is not a number shows in every sum
        rising = (bins[last] - lower) / (centre - lower)
        falling = (upper - bins[last]) / (upper - centre)
        weights[last - first] = min(rising, falling)
        last += 1
    return first, last


# Products may be fused with the sums they go into, which rounds once instead of twice; the order of the sums stays, so
# that a frame has the same numbers wherever it stands in a batch.
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

    One thread computes it, and lets others run: it takes tens of microseconds a clip.

    Args:
        power: float32.
        bins: (K,) float32, frequencies of the bins, rising, Hz.
        edges: (B, 3, M) float32, lower edge, centre and upper edge of each clip's bands, Hz.

    Raises:
        ValueError: shapes that do not go together.
    """
    clips, frames, count = power.shape
    if bins.shape != (count,) or edges.ndim != 3 or edges.shape[:2] != (clips, 3):
        raise ValueError(f"power {power.shape}, bins {bins.shape} and edges {edges.shape} do not go together")
    mel = np.empty((clips, frames, edges.shape[2]), np.float32)
    _sum_bands(np.ascontiguousarray(power, np.float32), bins, np.ascontiguousarray(edges), mel)
    return mel
