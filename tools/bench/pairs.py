"""Frame-pair sampling: the numba kernel against a plain Python loop and against vectorised NumPy."""

from __future__ import annotations

import random

import numpy as np
from common import alternate, parse, parser, write_row

from ssltoolkit.samplers.pairs import sample_pairs

HOP_MS, GAP_MS = 10.0, 100.0


def plain_loop(start: np.ndarray, frames: int, negatives: int) -> list:
    """A straightforward loop over anchors."""
    pairs = []
    for b, (first, second) in enumerate(start.tolist()):
        times = [second + (u + 0.5) * HOP_MS for u in range(frames)]
        for t in range(frames):
            moment = first + (t + 0.5) * HOP_MS
            positive = min(range(frames), key=lambda u: abs(times[u] - moment))
            if abs(times[positive] - moment) > HOP_MS / 2:
                continue
            allowed = [u for u in range(frames) if abs(times[u] - moment) >= GAP_MS]
            chosen = [b * frames + random.choice(allowed) for _ in range(negatives)]
            pairs.append((b * frames + t, b * frames + positive, chosen))
    return pairs


def vectorised(start: np.ndarray, frames: int, negatives: int, rng: np.random.Generator) -> tuple:
    """All distances at once; negatives are the smallest of random keys among the allowed frames."""
    centre = (np.arange(frames) + 0.5) * HOP_MS
    distance = np.abs(start[:, 1, None, None] + centre - start[:, 0, None, None] - centre[:, None])
    positive = distance.argmin(-1)
    valid = np.take_along_axis(distance, positive[..., None], -1)[..., 0] <= HOP_MS / 2
    keys = np.where(distance >= GAP_MS, rng.random(distance.shape, dtype=np.float32), np.float32(2.0))
    return valid, positive, np.argpartition(keys, negatives, axis=-1)[..., :negatives]


def main() -> None:
    """Measure both ratios."""
    args = parse(parser(__doc__, clips=(512, 64), frames=(96, 96), negatives=(32, 32)))
    rng = np.random.default_rng(0)
    start = rng.uniform(0.0, 300.0, (args.clips, 2))
    lengths = np.full((args.clips, 2), args.frames)

    def ours() -> object:
        return sample_pairs(start, lengths, args.frames, HOP_MS, 1, same=args.negatives, min_gap_ms=GAP_MS)

    shape = f"B={args.clips}, T'={args.frames}, K={args.negatives}"
    times = alternate(ours, lambda: plain_loop(start, args.frames, args.negatives), args.repeats)
    write_row(args, f"frame pairs, {shape}, against a Python loop", times)
    times = alternate(ours, lambda: vectorised(start, args.frames, args.negatives, rng), args.repeats)
    write_row(args, f"frame pairs, {shape}, against vectorised NumPy", times)


if __name__ == "__main__":
    main()
