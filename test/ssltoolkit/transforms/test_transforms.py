"""Each transform against a slow NumPy reference, its draws, and its ranges."""

import numpy as np
import pytest
import torch

from ssltoolkit.errors import ParameterError
from ssltoolkit.registry import REGISTRY
from ssltoolkit.transforms.base import RATIOS
from ssltoolkit.transforms.level import Filter, Gain, Mix, WhiteNoise
from ssltoolkit.transforms.masking import Mask
from ssltoolkit.transforms.pitch import PitchShift

SIZE, FRAMES, BANDS = 7, 11, 9


def mel(seed=0):
    return np.random.default_rng(seed).gamma(0.5, 1.0, (SIZE, FRAMES, BANDS))


def apply(transform, x, params, seed=0):
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in params.items()}
    return transform.apply(torch.from_numpy(x), tensors, torch.Generator().manual_seed(seed)).numpy()


def draw(transform, size=SIZE, seed=0):
    return transform.draw(size, np.random.default_rng(seed))


def test_gain():
    params = draw(Gain(-12.0, 6.0))
    got = apply(Gain(-12.0, 6.0), mel(), params)
    for k in range(SIZE):
        np.testing.assert_allclose(got[k], mel()[k] * 10 ** (params["db"][k] / 10), rtol=1e-6)
    many = draw(Gain(-12.0, 6.0), 5000)["db"]
    assert -12 <= many.min() < -11.9 and 5.9 < many.max() <= 6 and abs(many.mean() + 3) < 0.3


def test_filter():
    transform = Filter(max_db=6.0, points=4)
    params, x = draw(transform), np.log(mel() + 1e-5)
    got = apply(transform, x, params)
    for k in range(SIZE):
        curve = np.interp(np.linspace(0, 3, BANDS), np.arange(4), params["db"][k])
        for t in range(FRAMES):
            np.testing.assert_allclose(got[k, t], x[k, t] + curve * np.log(10) / 10, atol=1e-6)
    assert np.abs(draw(transform, 2000)["db"]).max() <= 6.0


def test_mix_reaches_the_drawn_ratio():
    transform = Mix(-5.0, 15.0, 0.5)
    params, x = draw(transform, seed=3), mel()
    got = apply(transform, x, params)
    assert params["mixed"].any() and not params["mixed"].all()
    for k in range(SIZE):
        if not params["mixed"][k]:
            np.testing.assert_array_equal(got[k], x[k])
            continue
        partner = x[params["partner"][k]]
        background = partner / partner.mean() * x[k].mean() / 10 ** (params["snr_db"][k] / 10)
        np.testing.assert_allclose(got[k], x[k] + background, rtol=1e-5)
        measured = 10 * np.log10(x[k].mean() / (got[k] - x[k]).mean())
        assert measured == pytest.approx(params["snr_db"][k], abs=1e-3)


def test_mix_never_takes_a_clip_for_its_own_background():
    for size in (2, 3, 8):
        for seed in range(300):
            params = draw(Mix(probability=1.0), size, seed)
            assert (params["partner"] != np.arange(size)).all()
            assert ((0 <= params["partner"]) & (params["partner"] < size)).all() and params["mixed"].all()
    alone = draw(Mix(probability=1.0), 1)
    assert not alone["mixed"].any()
    x = np.ones((1, FRAMES, BANDS))
    np.testing.assert_array_equal(apply(Mix(probability=1.0), x, alone), x)


def test_mix_with_silence_is_finite_and_quiet():
    x = mel()
    x[2] = 0.0
    params = {"partner": np.full(SIZE, 2), "snr_db": np.zeros(SIZE, np.float32), "mixed": np.ones(SIZE, bool)}
    np.testing.assert_array_equal(apply(Mix(), x, params), x)
    params["partner"] = np.full(SIZE, 3)
    assert np.isfinite(apply(Mix(), x, params)).all()
    np.testing.assert_array_equal(apply(Mix(), x, params)[2], 0.0)


def test_white_noise():
    x = np.zeros((SIZE, 20000))
    got = apply(WhiteNoise(0.01), x, draw(WhiteNoise(0.01)))
    assert got.std() == pytest.approx(0.01, rel=0.02) and abs(got.mean()) < 1e-4
    np.testing.assert_array_equal(got, apply(WhiteNoise(0.01), x, {}))
    assert not np.array_equal(got, apply(WhiteNoise(0.01), x, {}, seed=1))
    assert abs(np.corrcoef(got)[0, 1]) < 0.05


def test_mask():
    transform = Mask(0.5, 0.4)
    params, x = draw(transform, seed=2), np.log(mel() + 1e-5)
    got = apply(transform, x, params)
    masked = 0
    for k in range(SIZE):
        (t0, f0), (tw, fw) = params["start"][k], params["width"][k]
        for t in range(FRAMES):
            for f in range(BANDS):
                inside = (
                    np.float32(t0) <= np.float32(t / FRAMES) < t0 + tw
                    or np.float32(f0) <= np.float32(f / BANDS) < f0 + fw
                )
                masked += inside
                assert got[k, t, f] == pytest.approx(x[k].mean() if inside else x[k, t, f], abs=1e-9)
    assert 0 < masked < x.size
    many = draw(transform, 3000)
    assert (many["start"] + many["width"] <= 1.0 + 1e-6).all() and (many["width"] <= [0.5, 0.4]).all()
    np.testing.assert_array_equal(apply(Mask(0.0, 0.0), x, draw(Mask(0.0, 0.0))), x)


def test_pitch_shift_in_semitones_and_as_a_ratio():
    params = draw(PitchShift(4.0), 5000)
    np.testing.assert_allclose(params["ratio"], 2 ** (params["semitones"] / 12), rtol=1e-5)
    assert -4 <= params["semitones"].min() < -3.9 and 3.9 < params["semitones"].max() <= 4
    params = draw(PitchShift(0.2, "ratio"), 5000)
    p = params["ratio"] - 1  # U(-0.2, 0.2), and a ratio of 1 + p is 12 log2(1 + p) semitones
    assert -0.2 <= p.min() < -0.195 and 0.195 < p.max() <= 0.2001 and abs(p.mean()) < 0.01
    np.testing.assert_allclose(params["semitones"], 12 * np.log2(1 + p), atol=1e-4)
    assert np.abs(params["semitones"]).max() > 3


ALL = [
    REGISTRY.build("transform", {"name": name})
    for name in ("gain", "white_noise", "mix", "filter", "mask", "pitch_shift", "formant_shift")
]


@pytest.mark.parametrize("transform", ALL, ids=lambda transform: transform.registered_name)
def test_draws_have_a_row_a_clip_and_follow_the_seed(transform):
    for size in (1, 2, SIZE):
        params = draw(transform, size)
        assert all(len(value) == size for value in params.values())
        again, other = draw(transform, size), draw(transform, size, seed=1)
        assert all((params[key] == again[key]).all() for key in params)
    assert not params or any((params[key] != other[key]).any() for key in params)
    assert hash(transform) == hash(type(transform)())


@pytest.mark.parametrize(
    "transform", [t for t in ALL if t.domain not in RATIOS], ids=lambda transform: transform.registered_name
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_type_stay_and_the_input_is_left_alone(transform, dtype):
    x = torch.rand(
        SIZE,
        50 if transform.domain == "wave" else FRAMES,
        *([] if transform.domain == "wave" else [BANDS]),
        dtype=dtype,
    )
    copy = x.clone()
    params = {key: torch.from_numpy(value) for key, value in draw(transform).items()}
    y = transform.apply(x, params, torch.Generator().manual_seed(0))
    assert y.shape == x.shape and y.dtype == dtype and x.equal(copy) and torch.isfinite(y).all()


@pytest.mark.parametrize(
    "make, parameter",
    [
        (lambda: Gain(-90.0, 0.0), "low_db"), (lambda: Gain(3.0, 2.0), "high_db"), (lambda: WhiteNoise(-1.0), "std"),
        (lambda: Mix(10.0, 5.0), "high_snr_db"), (lambda: Mix(probability=1.1), "probability"), (lambda: Filter(points=1), "points"),
        (lambda: Filter(max_db=-1.0), "max_db"), (lambda: Mask(max_time=1.5), "max_time"), (lambda: PitchShift(0.0), "max_shift"),
        (lambda: PitchShift(25.0), "max_shift"), (lambda: PitchShift(1.0, "ratio"), "max_shift"),
    ],
)  # fmt: skip
def test_ranges(make, parameter):
    with pytest.raises(ParameterError) as caught:
        make()
    assert caught.value.parameter == parameter
