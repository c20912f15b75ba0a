"""Samplers beyond the paper: targets against plain loops, and their views."""

import math

import numpy as np
import pytest
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError
from ssltoolkit.samplers.base import DensePairs, DifferenceTargets, IndexPairs
from ssltoolkit.samplers.difference import GainDifferenceSampler, TempoSampler, TimeLagSampler
from ssltoolkit.samplers.frame_sampled import SampledFrameSampler
from ssltoolkit.samplers.mixture import MixtureSampler
from ssltoolkit.samplers.near import NearFrameSampler
from ssltoolkit.samplers.pitch import PitchContrastSampler
from ssltoolkit.transforms.level import Filter, Gain, Mix
from ssltoolkit.transforms.stretch import TimeStretch
from ssltoolkit.transforms.views import FrameGrid, RenderedView

HOP = 40.0


def compare(sampler, size=4, frames=12, starts=None, params=None, seed=0):
    rendered = {}
    for role, view in sampler.views.items():
        start = np.asarray((starts or {}).get(role, np.zeros(size)))
        rendered[role] = RenderedView(view, start, (params or {}).get(role, {}))
    return sampler.compare(rendered, FrameGrid(size, frames, HOP), np.random.default_rng(seed))


def test_pitch_contrast():
    semitones = np.array([-3.0, 0.2, 0.5, -0.4], np.float32)
    pairs = compare(PitchContrastSampler(4.0, 0.5), params={"shifted": {"pitch_shift": {"semitones": semitones}}})
    assert isinstance(pairs, DensePairs) and (pairs.rows, pairs.columns) == ("anchor", ("positive", "shifted"))
    assert pairs.target.shape == pairs.allowed.shape == (1, 4, 8)
    for i in range(4):
        for j in range(4):
            assert pairs.target[0, i, j] == (i == j) and pairs.target[0, i, 4 + j] == 0
            assert pairs.allowed[0, i, j] and pairs.allowed[0, i, 4 + j] == (i != j or abs(semitones[i]) >= 0.5)


def test_pitch_contrast_views():
    views = PitchContrastSampler(anchor=[Gain()], shifted=[Filter()], max_offset=0.2).views
    assert views["shifted"].cut == views["anchor"].cut == Cut("anchor") and views["positive"].cut == Cut(
        "positive", "anchor", 0.2
    )
    assert [t.registered_name for t in views["shifted"].transforms] == ["filter", "pitch_shift"] and views[
        "anchor"
    ].transforms == (Gain(),)
    for options, part in (
        ({"min_shift": 5.0}, "min_shift"),
        ({"max_shift": 0.0, "min_shift": 0.0}, "max_shift"),
        ({"max_offset": -1.0}, "max_offset"),
    ):
        with pytest.raises(ParameterError, match=part):
            PitchContrastSampler(**options)


def test_frame_near():
    offsets = np.array([0.0, 0.013, -0.4, 3.0])
    pairs = compare(
        NearFrameSampler(scale_ms=80.0, max_offset=4.0), starts={"anchor": np.ones(4), "positive": 1.0 + offsets}
    )
    assert pairs.within == "clip" and pairs.target.shape == (4, 12, 12)
    for b in range(4):
        for i in range(12):
            for j in range(12):
                distance = abs((j - i) * HOP + 1000 * offsets[b])
                expected = math.exp(-distance / 80.0) if distance < 400.0 else 0.0
                assert pairs.target[b, i, j].item() == pytest.approx(expected, abs=1e-6)
    assert not pairs.target[3].any()  # 3 s apart: no two frames are close
    with pytest.raises(ParameterError, match="scale_ms"):
        NearFrameSampler(scale_ms=0.0)


def test_mixture():
    partner = np.array([2, 0, 3, 1])
    pairs = compare(MixtureSampler(), params={"mixture": {"mix": {"partner": partner}}})
    assert (pairs.rows, pairs.columns, pairs.target.shape) == ("mixture", "clean", (1, 4, 4))
    for i in range(4):
        for j in range(4):
            assert pairs.target[0, i, j] == (j in (i, partner[i]))
    views = MixtureSampler(6.0, mixed=[Gain()], clean=[Filter()]).views
    assert views["mixture"].transforms == (Mix(-6.0, 6.0, 1.0), Gain()) and views["clean"].transforms == (Filter(),)
    assert views["mixture"].cut == views["clean"].cut  # the mixture contains the same cut as the clean view
    with pytest.raises(ParameterError, match="max_snr_db"):
        MixtureSampler(41.0)


@pytest.mark.parametrize(
    "sampler, transform, name, unit",
    [(TempoSampler(0.5), "time_stretch", "octaves", 1.0), (GainDifferenceSampler(12.0), "gain", "db", 6.0)],
)
def test_known_differences(sampler, transform, name, unit):
    drawn = {"first": [0.3, -0.1, 0.0, 0.5], "second": [0.1, 0.4, 0.0, -0.5]}
    params = {role: {transform: {name: np.array(value, np.float32)}} for role, value in drawn.items()}
    targets = compare(sampler, params=params)
    assert isinstance(targets, DifferenceTargets) and (targets.first, targets.second) == ("first", "second")
    expected = [(b - a) / unit for a, b in zip(drawn["first"], drawn["second"])]
    np.testing.assert_allclose(targets.value, expected, atol=1e-6)
    assert targets.value.dtype == torch.float32
    first, second = sampler.views["first"], sampler.views["second"]
    assert first.cut == second.cut and first.transforms == second.transforms and first != second  # drawn independently


def test_time_lag():
    targets = compare(TimeLagSampler([Gain()]), starts={"first": [0.0, 2.5, 1.0, 0.0], "second": [1.5, 0.5, 1.0, 9.25]})
    np.testing.assert_allclose(targets.value, [1.5, -2.0, 0.0, 9.25])
    assert targets.value.dtype == torch.float32
    views = TimeLagSampler([Gain()]).views
    assert views["first"].cut != views["second"].cut and all(view.transforms == (Gain(),) for view in views.values())


def test_task_sampler_ranges():
    for make in (
        lambda: TempoSampler(0.0),
        lambda: TempoSampler(2.5),
        lambda: GainDifferenceSampler(0.0),
        lambda: GainDifferenceSampler(61.0),
    ):
        with pytest.raises(ParameterError):
            make()
    with pytest.raises(ParameterError, match="'gain' twice"):  # a second gain would hide the target
        GainDifferenceSampler(both=[Gain()])
    assert TempoSampler(both=[Gain()]).views["first"].transforms == (Gain(), TimeStretch(0.5))


def test_frame_sampled():
    sampler = SampledFrameSampler(max_offset=0.2, same=6, other=5, min_gap_ms=80.0, max_gap_ms=240.0)
    starts = {"anchor": np.array([0.0, 1.0, 2.0]), "positive": np.array([0.08, 1.0, 1.93])}
    pairs = compare(sampler, 3, starts=starts)
    assert isinstance(pairs, IndexPairs) and (pairs.rows, pairs.columns) == ("anchor", "positive")
    assert (
        pairs.negatives.shape == (len(pairs.anchor), 11) and pairs.anchor.dtype == pairs.negatives.dtype == torch.int64
    )

    def moment(role, index):
        return 1000 * starts[role][index // 12] + (index % 12 + 0.5) * HOP

    for a, p, negatives in zip(pairs.anchor.numpy(), pairs.positive.numpy(), pairs.negatives.numpy()):
        assert a // 12 == p // 12 and abs(moment("anchor", a) - moment("positive", p)) <= HOP / 2 + 1e-6
        for n in negatives[:6]:
            assert n == -1 or (
                n // 12 == a // 12 and 80 - 1e-6 <= abs(moment("positive", n) - moment("anchor", a)) <= 240 + 1e-6
            )
        assert all(n // 12 != a // 12 for n in negatives[6:])
    again, other = compare(sampler, 3, starts=starts), compare(sampler, 3, starts=starts, seed=1)
    assert again.negatives.equal(pairs.negatives) and not other.negatives.equal(pairs.negatives)


def test_frame_sampled_ranges():
    assert SampledFrameSampler().views["positive"].cut == Cut("anchor")
    assert SampledFrameSampler(max_offset=0.1).views["positive"].cut == Cut("positive", "anchor", 0.1)
    for options, part in (
        ({"same": -1}, "same"), ({"other": -1}, "other"), ({"same": 0, "other": 0}, "there must be negatives"), ({"min_gap_ms": -1.0}, "min_gap_ms"),
        ({"max_gap_ms": 40.0}, "max_gap_ms"), ({"max_offset": -0.1}, "max_offset"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=part):
            SampledFrameSampler(**options)


SAMPLERS = {
    "pitch_contrast": ("info_nce", 8), "frame_sampled": ("triplet", 8), "frame_near": ("info_nce", 8), "mixture": ("nt_xent", 8),
    "time_lag": ("difference_sign", 1), "time_stretch": ("difference_regression", 1), "gain_difference": ("difference_regression", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_goes_through_a_whole_step(name, tiny_config):
    from ssltoolkit.data.segments import Batch
    from ssltoolkit.stages.pretrain import build_model

    loss, out_dim = SAMPLERS[name]
    similarity = ", similarity: {name: cosine}" if loss in ("info_nce", "nt_xent") else ""
    spec = f"strategies.task={{sampler: {{name: {name}}}, head: {{name: projection, out_dim: {out_dim}}}, loss: {{name: {loss}{similarity}}}}}"
    model = build_model(tiny_config("strategies.clip=null", "strategies.frame=null", "strategies.pitch=null", spec))
    rng = np.random.default_rng(0)
    waves = {cut: torch.from_numpy(0.1 * rng.standard_normal((4, 15360))).float() for cut in model.cuts}
    starts = {cut: 0.04 * rng.integers(0, 9, 4) for cut in model.cuts}
    output = model(Batch(waves, starts, [0, 1, 2], list("abcd")))
    output.loss.backward()
    assert torch.isfinite(output.loss) and output.loss.item() > 0
    assert any(p.grad is not None and p.grad.any() for p in model.encoder.parameters())
