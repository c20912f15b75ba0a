"""samplers/pairs.py against plain Python with the same random stream: equal output, defined results for edge cases."""

import bisect
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ssltoolkit.errors import ParameterError
from ssltoolkit.samplers import pairs as module
from ssltoolkit.samplers.pairs import sample_pairs

MASK = 2**64 - 1
GOLDEN, MIX1, MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def uniform(state, counter):
    """SplitMix64 as published: the state advances by the golden gamma, the output is mixed."""
    z = (state + (counter + 1) * GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * MIX1) & MASK
    z = ((z ^ (z >> 27)) * MIX2) & MASK
    return ((z ^ (z >> 31)) >> 11) / 2**53


def pick(u, count):
    return min(int(u * count), count - 1)


def reference(
    start, lengths, frames, hop, seed, same=16, other=0, tolerance=None, min_gap=100.0, max_gap=np.inf, balanced=False, rate=None, loud=None
):  # fmt: skip
    """The four outputs of sample_pairs by loops over clips, frames and candidates."""
    clips = len(start)
    rate = np.ones((clips, 2)) if rate is None else rate
    loud = np.ones((clips, 2, frames), bool) if loud is None else loud
    tolerance = hop / 2 if tolerance is None else tolerance

    def time(b, v, t):
        return start[b, v] + rate[b, v] * (t + 0.5) * hop

    candidates = [[(time(b, 1, t), t) for t in range(lengths[b, 1]) if loud[b, 1, t]] for b in range(clips)]
    out = [], [], [], []
    for b in range(clips):
        state = (seed & MASK) ^ ((b + 1) * MIX2 & MASK)
        others = [c for c in range(clips) if c != b and candidates[c]]
        for t in range(lengths[b, 0]):
            if not loud[b, 0, t] or not candidates[b]:
                continue
            moment = time(b, 0, t)
            nearest = min(range(len(candidates[b])), key=lambda i: (abs(candidates[b][i][0] - moment), i))
            if abs(candidates[b][nearest][0] - moment) > tolerance:
                continue
            # At least the gap and at most the limit away, and not the positive.
            fit = [
                f for i, (when, f) in enumerate(candidates[b])
                if i != nearest and (when <= moment - min_gap or when >= moment + min_gap) and moment - max_gap <= when <= moment + max_gap
            ]  # fmt: skip
            counter = t * (same + 2 * other)
            near, far = [-1] * same, [-1] * other
            for k in range(same if fit else 0):
                u = uniform(state, counter + k)
                near[k] = b * frames + fit[pick((k + u) / same if balanced else u, len(fit))]
            for m in range(other if others else 0):
                first = counter + same + 2 * m
                clip = others[pick(uniform(state, first), len(others))]
                far[m] = clip * frames + candidates[clip][pick(uniform(state, first + 1), len(candidates[clip]))][1]
            for column, value in zip(out, (b * frames + t, b * frames + candidates[b][nearest][1], near, far)):
                column.append(value)
    anchor, positive, near, far = (np.array(column, np.int64) for column in out)
    return anchor, positive, near.reshape(len(anchor), same), far.reshape(len(anchor), other)


def check(start, lengths, frames, hop, seed, energy=None, floor=-np.inf, **options):
    start, lengths = np.asarray(start, float), np.asarray(lengths)
    names = {"tolerance": "tolerance_ms", "min_gap": "min_gap_ms", "max_gap": "max_gap_ms"}
    got = sample_pairs(
        start,
        lengths,
        frames,
        hop,
        seed,
        energy=energy,
        energy_floor=floor,
        **{names.get(k, k): v for k, v in options.items()},
    )
    loud = None if energy is None else energy >= floor
    expected = reference(start, lengths, frames, hop, seed, loud=loud, **options)
    for name, value in zip(("anchor", "positive", "same", "other"), expected):
        found = getattr(got, name)
        assert found.dtype == np.int32 and found.shape == value.shape, name
        np.testing.assert_array_equal(found, value, name)
    return got


OPTIONS = [
    {},
    {"same": 5, "other": 7},
    {"same": 0, "other": 3},
    {"same": 3, "other": 2, "tolerance": 0.0},
    {"same": 6, "tolerance": 1e6},
    {"same": 8, "min_gap": 80.0, "max_gap": 160.0},
    {"same": 8, "min_gap": 0.0},
    {"same": 8, "min_gap": 40.0, "max_gap": 40.0},
    {"same": 8, "min_gap": 80.0, "balanced": True, "other": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_equal_to_plain_python(options, seed):
    rng = np.random.default_rng(seed % 1000)
    clips, frames = 6, 13
    start = np.stack([rng.uniform(0, 3000, clips), np.zeros(clips)], axis=1)
    start[:, 1] = start[:, 0] + rng.choice([0.0, 20.0, -40.0, 37.3, 300.0, 5000.0], clips)
    lengths = rng.integers(0, frames + 1, (clips, 2))
    lengths[0] = frames
    check(start, lengths, frames, 40.0, seed, **options)
    energy = rng.standard_normal((clips, 2, frames))
    energy[1, 1] = -9.0
    check(start, lengths, frames, 40.0, seed, energy, -0.3, **options)
    check(start, lengths, frames, 40.0, seed, rate=2.0 ** rng.uniform(-1, 1, (clips, 2)), **options)


def test_what_the_pairs_promise():
    frames, hop = 24, 40.0
    start = np.array([[0.0, 100.0], [500.0, 500.0], [0.0, 0.0]])
    got = sample_pairs(
        start, np.full((3, 2), frames), frames, hop, 1, same=32, other=32, min_gap_ms=80.0, max_gap_ms=400.0
    )

    def moment(index, view):
        return start[index // frames, view] + (index % frames + 0.5) * hop

    assert (np.abs(moment(got.anchor, 0) - moment(got.positive, 1)) <= hop / 2).all() and (
        got.anchor // frames == got.positive // frames
    ).all()
    gap = np.abs(moment(got.same, 1) - moment(got.anchor, 0)[:, None])[got.same >= 0]
    assert (
        (80.0 <= gap).all()
        and (gap <= 400.0).all()
        and ((got.same // frames == got.anchor[:, None] // frames) | (got.same < 0)).all()
    )
    assert (got.other // frames != got.anchor[:, None] // frames).all() and set(np.unique(got.other // frames)) == {
        0,
        1,
        2,
    }
    assert len(np.unique(got.other % frames)) == frames


def test_the_positive_is_never_its_own_negative():
    got = sample_pairs(np.zeros((2, 2)), np.full((2, 2), 5), 5, 40.0, 0, same=64, min_gap_ms=0.0)
    assert (got.same >= 0).all() and not (got.same == got.positive[:, None]).any()


def test_balanced_negatives_cover_the_clip():
    got = sample_pairs(np.zeros((1, 2)), np.full((1, 2), 32), 32, 40.0, 3, same=31, min_gap_ms=1.0, balanced=True)
    assert all(len(set(row)) == 31 for row in got.same)  # each candidate once


def test_odd_input():
    full = np.full((2, 2), 5)
    # Views without overlap: clip 0 has no anchors, but provides negatives.
    far = check([[0.0, 9000.0], [0.0, 0.0]], full, 5, 40.0, 0, same=3, other=3)
    assert (far.anchor // 5 == 1).all() and (far.other // 5 == 0).all()
    one = check(np.zeros((2, 2)), np.ones((2, 2), int), 1, 40.0, 0, same=3, other=2)
    assert (one.same == -1).all() and one.other.tolist() == [[1, 1], [0, 0]]
    alone = check(np.zeros((1, 2)), [[5, 5]], 5, 40.0, 0, same=2, other=2, min_gap=40.0)
    assert (alone.other == -1).all() and (alone.same >= 0).all()
    for empty in (
        check(np.zeros((2, 2)), full, 5, 40.0, 0, np.full((2, 2, 5), -80.0), -60.0, same=3, other=2),  # all silent
        # Levels of NaN count as silence.
        check(np.zeros((2, 2)), full, 5, 40.0, 0, np.full((2, 2, 5), np.nan), -60.0, same=3),
        check(np.zeros((2, 2)), np.zeros((2, 2), int), 5, 40.0, 0, same=3),
        check(np.zeros((2, 2)), np.zeros((2, 2), int), 0, 40.0, 0, same=3),
        check(np.zeros((0, 2)), np.zeros((0, 2), int), 5, 40.0, 0, same=3, other=1),
    ):
        assert empty.anchor.shape == empty.positive.shape == (0,) and len(empty.same) == len(empty.other) == 0


def test_bad_input():
    good = (np.zeros((2, 2)), np.full((2, 2), 5), 5, 40.0, 0)
    for options in ({"same": -1}, {"other": -1}, {"min_gap_ms": -1.0}, {"max_gap_ms": 50.0}, {"tolerance_ms": -1.0}):
        with pytest.raises(ParameterError, match=next(iter(options))):
            sample_pairs(*good, **options)
    with pytest.raises(ParameterError, match="hop_ms"):
        sample_pairs(*good[:3], 0.0, 0)
    for change in (
        {"rate": np.zeros((2, 2))},
        {"rate": np.full((2, 2), np.nan)},
        {"rate": np.ones((2, 3))},
        {"energy": np.zeros((2, 2, 4))},
    ):
        with pytest.raises(ValueError):
            sample_pairs(*good, **change)
    for start, lengths in (
        (np.zeros((2, 3)), good[1]),
        (good[0], np.full((2, 2), 6)),
        (good[0], np.full((2, 2), -1)),
        (np.full((2, 2), np.nan), good[1]),
    ):
        with pytest.raises(ValueError):
            sample_pairs(start, lengths, 5, 40.0, 0)


def test_seed_alone_decides():
    rng = np.random.default_rng(0)
    start, lengths = rng.uniform(0, 500, (16, 2)), rng.integers(1, 21, (16, 2))

    def draw(seed):
        got = sample_pairs(start, lengths, 20, 40.0, seed, same=6, other=6, tolerance_ms=200.0)
        return got.same.tolist(), got.other.tolist()

    with ThreadPoolExecutor(4) as pool:  # the kernel releases the GIL
        found = list(pool.map(draw, [5] * 16))
    assert all(one == found[0] for one in found) and draw(6) != found[0] and draw(5) == found[0]


def test_uniform_is_uniform():
    drawn = np.sort([uniform(12345, k) for k in range(4000)])
    assert [module._uniform(np.uint64(12345), np.uint64(k)) for k in range(50)] == [
        uniform(12345, k) for k in range(50)
    ]
    assert np.abs(drawn - (np.arange(4000) + 0.5) / 4000).max() < 0.03  # Kolmogorov-Smirnov
    assert bisect.bisect(drawn.tolist(), 0.5) == pytest.approx(2000, abs=150)
