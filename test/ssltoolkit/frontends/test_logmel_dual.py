"""frontends/logmel_dual.py: the frontend of two resolutions."""

import numpy as np
import pytest
import torch

from ssltoolkit.embedding import mel_between
from ssltoolkit.errors import ParameterError
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.frontends.logmel_dual import DualLogMel


def tone(*frequencies, seconds=1.0):
    time = torch.arange(int(16000 * seconds)) / 16000
    return sum(0.1 * torch.sin(6.2831853 * f * time) for f in frequencies)[None]


def test_coarse_bands_are_those_of_logmel_and_fine_ones_a_third_of_a_semitone_apart():
    wave = tone(440.0, 3000.0)
    dual, coarse = DualLogMel(), LogMel()
    features = dual(wave)
    assert features.shape == (1, 100, 320) and dual.parts == (64, 256) and dual.n_mels == 320
    assert features[..., :64].equal(coarse(wave))
    assert all(features[:, shift::4, 64:].equal(features[:, ::4, 64:]) for shift in (1, 2, 3))
    centres = 50.0 * 2 ** (np.arange(1, 257) / 36)
    np.testing.assert_allclose(dual.fine.edges[1].numpy(), centres, rtol=1e-6)


def test_fine_bands_by_their_equations():
    wave, dual = tone(440.0, 3000.0), DualLogMel()
    samples = np.pad(wave[0].numpy().astype(np.float64), 4096)
    points = 50.0 * 2 ** (np.arange(258) / 36)
    bins, hann = np.arange(2049) * 16000 / 4096, np.zeros(4096)
    hann[1024:3072] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    scale = (0.375 * 400) / np.square(hann).sum()
    for frame in (3, 12):
        begin = 4096 + frame * 640 + 320 - 2048  # centred in the frame
        power = np.abs(np.fft.rfft(samples[begin : begin + 4096] * hann)) ** 2 * scale
        for band in (0, 30, 130, 255):
            centre = points[band + 1]
            below = max(centre - points[band], 1.5 * 16000 / 4096)  # at least one and a half bins
            above = max(points[band + 2] - centre, 1.5 * 16000 / 4096)
            weight = np.clip(np.minimum((bins - centre + below) / below, (centre + above - bins) / above), 0, None)
            assert dual(wave)[0, 4 * frame, 64 + band].item() == pytest.approx(np.log(weight @ power + 1e-5), abs=2e-3)


def test_noise_gives_bins_of_both_the_same_power():
    wave = 0.1 * torch.randn(1, 160000, generator=torch.Generator().manual_seed(0))
    coarse, fine = DualLogMel().power(wave)
    assert coarse[..., 10:-10].mean().item() == pytest.approx(fine[..., 80:-80].mean().item(), rel=0.03)


def test_fine_bands_tell_neighbouring_semitones_apart():
    frontend = DualLogMel()
    semitones = [frontend(tone(200.0 * 2 ** (step / 12)))[0, 50] for step in range(13)]
    coarse, fine = ({int(frame[part].argmax()) for frame in semitones} for part in (slice(0, 64), slice(64, 320)))
    assert len(fine) >= 12 and len(coarse) <= 8


def test_a_transposition_moves_both():
    frontend = DualLogMel()
    ratio = torch.tensor([1.25])
    shifted = frontend(tone(400.0, 1200.0), ratio)[0, 50]
    wanted = frontend(tone(500.0, 1500.0))[0, 50]
    for part in (slice(0, 64), slice(64, 320)):
        assert abs(int(shifted[part].argmax()) - int(wanted[part].argmax())) <= 1


def test_on_the_fine_bands_a_transposition_is_a_shift():
    frontend = DualLogMel()
    semitones = 4
    low, high = (
        frontend(tone(*(base * k for k in (1, 2, 3, 5))))[0, 48, 64:] for base in (300.0, 300.0 * 2 ** (semitones / 12))
    )
    warped = frontend(tone(*(300.0 * k for k in (1, 2, 3, 5))), torch.tensor([2 ** (semitones / 12)]))[0, 48, 64:]
    bands = slice(110, 240)  # where all bands are a third of a semitone wide
    moved = low.roll(3 * semitones)[bands]
    assert torch.corrcoef(torch.stack([moved, high[bands]]))[0, 1] > 0.95
    torch.testing.assert_close(warped[bands], moved, rtol=0, atol=0.05)


@pytest.mark.parametrize("samples", [160, 700, 15999, 16640])
def test_every_length_gives_whole_frames(samples):
    assert DualLogMel()(torch.randn(2, samples)).shape == (2, samples // 160, 320)


def test_a_stretch_has_the_features_of_the_whole():
    wave = 0.1 * torch.randn(2, 48000, generator=torch.Generator().manual_seed(1))
    frontend = DualLogMel()
    whole = frontend(wave)
    for first, last in ((0, 100), (97, 203), (150, 300)):
        torch.testing.assert_close(mel_between(frontend, wave, first, last), whole[:, first:last], rtol=1e-5, atol=1e-5)


def test_each_resolution_has_its_own_statistics():
    frontend = DualLogMel()
    mean, std = (
        torch.cat([torch.full((64,), 2.0), torch.full((256,), -3.0)]),
        torch.cat([torch.full((64,), 0.5), torch.full((256,), 4.0)]),
    )
    frontend.set_statistics(mean, std)
    assert frontend.mean.equal(mean) and frontend.std.equal(std)
    with pytest.raises(ValueError, match="statistics have .64,. bands, this frontend has 320"):
        frontend.set_statistics(mean[:64], std[:64])


@pytest.mark.parametrize(
    "wrong, key",
    [
        ({"fine_bands": 0}, "fine_bands"),
        ({"fine_win_length": 639}, "fine_win_length"),
        ({"fine_bands": 280}, "fine_bands"),
        ({"fine_f_min": 0.0}, "fine_f_min"),
        ({"fine_per_semitone": 0}, "fine_per_semitone"),
        ({"fine_f_min": 90.0}, "fine_bands"),
    ],
)
def test_wrong_parameters_are_named(wrong, key):
    with pytest.raises(ParameterError, match=key):
        DualLogMel(**wrong)
