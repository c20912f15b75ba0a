"""time_stretch and resize_crop against slow loops."""

import numpy as np
import pytest
import torch

from ssltoolkit.errors import ParameterError
from ssltoolkit.transforms.stretch import ResizeCrop, TimeStretch, read_at

SIZE, FRAMES, BANDS = 5, 12, 3


def mel(seed=0, frames=FRAMES):
    return np.random.default_rng(seed).gamma(0.5, 1.0, (SIZE, frames, BANDS))


def apply(transform, x, params):
    return transform.apply(
        torch.from_numpy(x), {key: torch.from_numpy(value) for key, value in params.items()}, torch.Generator()
    ).numpy()


def at(x, position):
    """x (T, M) at a fractional frame; the ends are reflected without repeating the last frame."""
    last = len(x) - 1
    position = abs(position) % (2 * last)
    position = 2 * last - position if position > last else position
    low = min(int(position), last - 1)
    return x[low] * (1 - (position - low)) + x[low + 1] * (position - low)


@pytest.mark.parametrize("reach", [0.5, 2.0])
def test_time_stretch(reach):
    transform, x = TimeStretch(reach), mel()
    params = transform.draw(SIZE, np.random.default_rng(1))
    got = apply(transform, x, params)
    middle = (FRAMES - 1) / 2
    for b in range(SIZE):
        speed = 2.0 ** float(params["octaves"][b])
        for t in range(FRAMES):
            np.testing.assert_allclose(got[b, t], at(x[b], middle + (t - middle) * speed), atol=2e-5)


def test_an_octave_faster_is_every_other_frame():
    x = mel(frames=41)
    got = apply(TimeStretch(1.0), x, {"octaves": np.ones(SIZE, np.float32)})
    np.testing.assert_allclose(got[:, 10:31], x[:, 0:41:2], atol=1e-6)
    np.testing.assert_allclose(apply(TimeStretch(1.0), x, {"octaves": np.zeros(SIZE, np.float32)}), x, atol=1e-6)


@pytest.mark.parametrize("least", [(0.4, 1.0), (0.4, 0.5), (1.0, 0.3)])
def test_resize_crop(least):
    transform, x = ResizeCrop(*least), mel()
    params = transform.draw(SIZE, np.random.default_rng(1))
    got = apply(transform, x, params)
    for b in range(SIZE):
        (time, band), (first, lowest) = params["share"][b].astype(float), params["start"][b].astype(float)
        if least[1] == 1.0:
            band, lowest = 1.0, 0.0
        along = np.stack([at(x[b], (first + t / (FRAMES - 1) * time) * (FRAMES - 1)) for t in range(FRAMES)])
        both = np.stack([at(along.T, (lowest + m / (BANDS - 1) * band) * (BANDS - 1)) for m in range(BANDS)], axis=1)
        np.testing.assert_allclose(got[b], both, atol=2e-5)


def test_a_crop_of_the_whole_changes_nothing():
    whole, x = ResizeCrop(1.0), mel()
    np.testing.assert_allclose(apply(whole, x, whole.draw(SIZE, np.random.default_rng(0))), x, atol=1e-5)


def test_draws():
    octaves = TimeStretch(0.5).draw(5000, np.random.default_rng(0))["octaves"]
    assert -0.5 <= octaves.min() < -0.49 and 0.49 < octaves.max() <= 0.5 and octaves.dtype == np.float32
    crop = ResizeCrop(0.6, 0.8).draw(5000, np.random.default_rng(0))
    assert (
        (crop["share"].min(0) < (0.61, 0.81)).all()
        and (crop["share"].min(0) >= np.float32((0.6, 0.8))).all()
        and crop["share"].max() <= 1.0
    )
    assert crop["start"].min() >= 0 and (crop["start"] + crop["share"]).max() <= 1.0 + 1e-6


@pytest.mark.parametrize(
    "transform",
    [TimeStretch(1.0), ResizeCrop(0.3), ResizeCrop(0.5, 0.5)],
    ids=["time_stretch", "resize_crop", "both_axes"],
)
@pytest.mark.parametrize("frames", [1, 2, 96])
def test_shape_type_and_range_stay(transform, frames):
    for dtype in (torch.float32, torch.float64):
        x = torch.from_numpy(mel(frames=frames)).to(dtype)
        copy = x.clone()
        params = {key: torch.from_numpy(value) for key, value in transform.draw(SIZE, np.random.default_rng(0)).items()}
        y = transform.apply(x, params, torch.Generator())
        assert y.shape == x.shape and y.dtype == dtype and x.equal(copy)
        assert y.min() >= x.min() - 1e-6 and y.max() <= x.max() + 1e-6  # interpolated, never extrapolated


def test_reading_far_beyond_the_ends_reflects():
    x = torch.arange(4.0).view(1, 4, 1)
    position = torch.tensor([[-7.0, -3.0, -0.5, 3.0, 3.5, 6.0, 9.0]])
    assert read_at(x, position)[0, :, 0].tolist() == [1.0, 3.0, 0.5, 3.0, 2.5, 0.0, 3.0]


def test_ranges():
    for make in (
        lambda: TimeStretch(0.0),
        lambda: TimeStretch(2.1),
        lambda: ResizeCrop(0.0),
        lambda: ResizeCrop(0.5, 1.1),
    ):
        with pytest.raises(ParameterError):
            make()
