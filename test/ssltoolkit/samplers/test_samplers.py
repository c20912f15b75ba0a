"""Samplers: the views they define, and targets against plain loops."""

import numpy as np
import pytest
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError
from ssltoolkit.losses.contrastive import InfoNCE
from ssltoolkit.losses.similarity import Cosine
from ssltoolkit.samplers.base import DensePairs, DifferenceTargets, Sampler
from ssltoolkit.samplers.clip import ClipSampler
from ssltoolkit.samplers.frame import AlignedFrameSampler, FrameBandSampler
from ssltoolkit.samplers.frame_sampled import SampledFrameSampler
from ssltoolkit.samplers.near import NearFrameSampler
from ssltoolkit.samplers.pitch import PitchShiftSampler
from ssltoolkit.transforms.level import Gain
from ssltoolkit.transforms.stretch import ResizeCrop, TimeStretch
from ssltoolkit.transforms.views import FrameGrid, RenderedView

HOP = 40.0


def compare(sampler, size=3, frames=24, starts=None, params=None, period=None):
    rendered = {}
    for role, view in sampler.views.items():
        start = (starts or {}).get(role, np.zeros(size))
        rendered[role] = RenderedView(view, np.asarray(start), (params or {}).get(role, {}), period)
    return sampler.compare(rendered, FrameGrid(size, frames, HOP), np.random.default_rng(0))


def test_clip_is_the_diagonal():
    pairs = compare(ClipSampler(), 4)
    assert pairs.target.tolist() == torch.eye(4)[None].tolist()
    assert (pairs.rows, pairs.columns, pairs.within) == ("anchor", "positive", "batch") and pairs.allowed.all()


def test_clip_cuts():
    far, near = ClipSampler(positive=[Gain()]), ClipSampler(max_offset=0.5)
    assert far.views["positive"].cut == Cut("positive") and far.views["positive"].transforms == (Gain(),)
    assert near.views["positive"].cut == Cut("positive", "anchor", 0.5) and near.views["anchor"].cut == Cut("anchor")
    with pytest.raises(ParameterError, match="max_offset must be at least 0 s, got -1"):
        ClipSampler(max_offset=-1.0)


@pytest.mark.parametrize("t", [0, 1, 2, 30])
def test_band(t):
    pairs = compare(FrameBandSampler(neighbours=t), frames=12)
    assert (pairs.rows, pairs.columns, pairs.within) == ("anchor", "anchor", "clip") and pairs.target.shape == (
        1,
        12,
        12,
    )
    for i in range(12):
        for j in range(12):
            assert pairs.target[0, i, j] == (abs(i - j) <= t)


OFFSETS = np.array([0.0, 0.04, -0.1, 0.019, 0.021, 0.95, -2.0])


@pytest.mark.parametrize("tolerance", [0.0, 50.0])
@pytest.mark.parametrize("gap", [0.0, 80.0, 200.0])
def test_aligned_frames_are_those_of_the_same_moment(tolerance, gap):
    sampler = AlignedFrameSampler(max_offset=3.0, tolerance_ms=tolerance, gap_ms=gap)
    pairs = compare(sampler, len(OFFSETS), starts={"anchor": np.zeros(len(OFFSETS)), "positive": OFFSETS})
    for b, offset in enumerate(OFFSETS):
        for i in range(24):
            for j in range(24):
                distance = abs((j + 0.5) * HOP + 1000 * offset - (i + 0.5) * HOP)
                positive = distance <= max(tolerance, HOP / 2)
                assert pairs.target[b, i, j] == positive, (b, i, j)
                assert pairs.allowed[b, i, j] == (positive or distance >= gap), (b, i, j)
    assert pairs.target[6].sum() == 0  # 2 s apart: no overlap
    assert (pairs.target[:5].sum(-1).amax(-1) >= 1).all()


def test_aligned_frames_against_the_batch():
    starts = {"anchor": np.zeros(3), "positive": np.array([0.0, 0.08, 0.3])}
    options = {"max_offset": 0.5, "gap_ms": 100.0}
    clip = compare(AlignedFrameSampler(**options), frames=6, starts=starts)
    batch = compare(AlignedFrameSampler(negatives="batch", **options), frames=6, starts=starts)
    assert batch.within == "batch" and batch.target.shape == batch.allowed.shape == (1, 18, 18)
    for a in range(3):
        for b in range(3):
            block = (0, slice(6 * a, 6 * a + 6), slice(6 * b, 6 * b + 6))
            assert batch.target[block].equal(clip.target[a]) if a == b else not batch.target[block].any()
            assert batch.allowed[block].equal(clip.allowed[a]) if a == b else batch.allowed[block].all()


def test_drawn_anchors_are_rows_of_the_whole_comparison():
    starts = {"anchor": np.zeros(3), "positive": np.array([0.0, 0.08, -0.2])}
    whole = compare(AlignedFrameSampler(max_offset=0.4, gap_ms=80.0, negatives="batch"), starts=starts)
    drawn = compare(AlignedFrameSampler(max_offset=0.4, gap_ms=80.0, negatives="batch", anchors=5), starts=starts)
    assert drawn.target.shape == (1, 15, 72) and drawn.anchors.unique().shape == (15,)
    assert torch.bincount(drawn.anchors // 24).tolist() == [5, 5, 5]
    assert drawn.target.equal(whole.target[:, drawn.anchors]) and drawn.allowed.equal(whole.allowed[:, drawn.anchors])


def test_the_loss_of_drawn_anchors_is_that_of_their_rows():
    drawn = compare(AlignedFrameSampler(negatives="batch", anchors=5))
    outputs = {
        role: torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(n))
        for n, role in enumerate(("anchor", "positive"))
    }
    rows, columns = (
        torch.nn.functional.normalize(outputs[role].flatten(0, 1), dim=-1) for role in ("anchor", "positive")
    )
    scores = rows @ columns.T / 0.1
    loss = InfoNCE(Cosine(temperature=0.1))(outputs, drawn).loss
    torch.testing.assert_close(
        loss, torch.nn.functional.cross_entropy(scores, torch.arange(72), reduction="none")[drawn.anchors].mean()
    )


def test_drawn_anchors_need_the_batch():
    with pytest.raises(ParameterError, match="anchors needs negatives: batch"):
        AlignedFrameSampler(anchors=5)
    with pytest.raises(ParameterError, match="anchors"):
        AlignedFrameSampler(negatives="batch", anchors=0)


def test_aligned_views():
    same = AlignedFrameSampler(anchor=[Gain()], positive=[Gain()])
    assert same.views["positive"].cut == Cut("anchor") and same.views["positive"] != same.views["anchor"]
    assert AlignedFrameSampler(max_offset=0.1).views["positive"].cut == Cut("positive", "anchor", 0.1)
    bad = {"gap_ms": -1.0, "tolerance_ms": -1.0, "negatives": "all", "max_offset": -0.1}
    for name, value in bad.items():
        with pytest.raises(ParameterError, match=name):
            AlignedFrameSampler(**{name: value})
    with pytest.raises(ParameterError, match="neighbours"):
        FrameBandSampler(neighbours=-1)


@pytest.mark.parametrize(
    "unit, key, value", [("semitone", "semitones", [-3.0, 0.0, 2.5]), ("ratio", "ratio", [0.8, 1.0, 1.15])]
)
def test_pitch_targets(unit, key, value):
    limit = 4.0 if unit == "semitone" else 0.2
    drawn = {"pitch_shift": {key: np.array(value, np.float32)}}
    targets = compare(PitchShiftSampler(limit, unit), params={"shifted": drawn})
    expected = np.array(value) - (1.0 if unit == "ratio" else 0.0)
    assert isinstance(targets, DifferenceTargets) and (targets.first, targets.second) == ("anchor", "shifted")
    np.testing.assert_allclose(targets.value, expected, atol=1e-6)
    sampler = PitchShiftSampler(limit, unit, shift_anchor=True)
    both = compare(
        sampler, params={"shifted": drawn, "anchor": {"pitch_shift": {key: np.array(value, np.float32)[::-1].copy()}}}
    )
    np.testing.assert_allclose(both.value, np.array(value) - np.array(value)[::-1], atol=1e-6)


def test_pitch_views():
    sampler = PitchShiftSampler(anchor=[Gain()], shifted=[Gain()], shift_anchor=True)
    assert sampler.views["anchor"].cut == sampler.views["shifted"].cut
    assert [t.registered_name for t in sampler.views["anchor"].transforms] == ["gain", "pitch_shift"]
    with pytest.raises(ParameterError):
        PitchShiftSampler(max_shift=0.0)


def test_moving_to_a_device_keeps_everything():
    pairs = DensePairs("a", "b", torch.eye(2)[None], "clip", torch.ones(1, 2, 2, dtype=torch.bool)).to("cpu")
    assert pairs.within == "clip" and pairs.allowed is not None
    with pytest.raises(ValueError, match="asks for no view"):
        Sampler()


# Periods of three clips: 0.4 s, which is ten frames; 0.41 s, not a whole number of frames; no repetition.
PERIODS = np.array([0.4, 0.41, np.inf])


def test_a_repeated_moment_is_the_same_moment():
    pairs = compare(AlignedFrameSampler(gap_ms=80.0), period=PERIODS)
    for b, period in enumerate(1000.0 * PERIODS):
        for i in range(24):
            for j in range(24):
                distance = (
                    min(abs((j - i) * HOP - turn * period) for turn in range(-3, 4))
                    if np.isfinite(period)
                    else abs(j - i) * HOP
                )
                assert pairs.target[b, i, j] == (distance <= HOP / 2), (b, i, j)
                assert pairs.allowed[b, i, j] == (distance <= HOP / 2 or distance >= 80.0), (b, i, j)
    assert pairs.target[0, 3].nonzero().flatten().tolist() == [3, 13, 23]


def test_the_band_and_the_near_frames_of_a_short_clip_go_round():
    band = compare(FrameBandSampler(neighbours=1), period=PERIODS).target
    assert band.shape == (3, 24, 24) and band[0, 0].nonzero().flatten().tolist() == [0, 1, 9, 10, 11, 19, 20, 21]
    assert band[2, 0].nonzero().flatten().tolist() == [0, 1]
    assert compare(FrameBandSampler(neighbours=1), period=np.full(3, np.inf)).target.shape == (1, 24, 24)
    near = compare(NearFrameSampler(), period=PERIODS).target
    assert near[0, 2, 12] == near[0, 2, 2] == 1.0 and near[2, 2, 12] == 0.0


def test_drawn_frames_are_those_before_a_clip_is_repeated():
    pairs = compare(SampledFrameSampler(same=16, other=16), period=PERIODS)
    lengths = [10, 11, 24]
    assert len(pairs.anchor) == sum(lengths)
    drawn = torch.cat([pairs.anchor, pairs.positive, pairs.negatives.flatten()])
    drawn = drawn[drawn >= 0]
    for clip, length in enumerate(lengths):
        frames = drawn[drawn // 24 == clip] % 24
        assert frames.max() == length - 1


@pytest.mark.parametrize("sampler", [AlignedFrameSampler, SampledFrameSampler, NearFrameSampler])
@pytest.mark.parametrize("transform, name", [(TimeStretch(), "time_stretch"), (ResizeCrop(), "resize_crop")])
def test_frames_that_are_moved_are_not_matched_by_time(sampler, transform, name):
    with pytest.raises(ParameterError, match=f"positive '{name}' moves frames in time"):
        sampler(positive=[Gain(), transform])
    ClipSampler(positive=[transform])
