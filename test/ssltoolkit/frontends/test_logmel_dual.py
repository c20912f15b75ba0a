"""The frontend of two resolutions."""

import pytest
import torch

from ssltoolkit.embedding import mel_between
from ssltoolkit.errors import ParameterError
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.frontends.logmel_dual import DualLogMel


def tone(*frequencies, seconds=1.0):
    time = torch.arange(int(16000 * seconds)) / 16000
    return sum(0.1 * torch.sin(6.2831853 * f * time) for f in frequencies)[None]


def test_coarse_bands_are_those_of_logmel_and_fine_ones_those_of_longer_windows():
    wave = tone(440.0, 3000.0)
    dual, coarse = DualLogMel(), LogMel()
    fine = LogMel(win_length=2048, hop_length=640, n_fft=4096, n_mels=192)
    features = dual(wave)
    assert features.shape == (1, 100, 256) and dual.parts == (64, 192) and dual.n_mels == 256
    assert features[..., :64].equal(coarse(wave))
    scale = (torch.hann_window(400).square().sum() / torch.hann_window(2048).square().sum()).item()
    wanted = torch.log(fine.mel(fine.power(wave) * scale) + 1e-5)
    torch.testing.assert_close(features[:, ::4, 64:], wanted, rtol=1e-4, atol=1e-4)
    assert all(features[:, shift::4, 64:].equal(features[:, ::4, 64:]) for shift in (1, 2, 3))


def test_noise_gives_bins_of_both_the_same_power():
    wave = 0.1 * torch.randn(1, 160000, generator=torch.Generator().manual_seed(0))
    coarse, fine = DualLogMel().power(wave)
    assert coarse[..., 10:-10].mean().item() == pytest.approx(fine[..., 80:-80].mean().item(), rel=0.03)


def test_fine_bands_tell_neighbouring_semitones_apart():
    frontend = DualLogMel()
    semitones = [frontend(tone(200.0 * 2 ** (step / 12)))[0, 50] for step in range(13)]
    coarse, fine = ({int(frame[part].argmax()) for frame in semitones} for part in (slice(0, 64), slice(64, 256)))
    assert len(fine) >= 12 and len(coarse) <= 8


def test_a_transposition_moves_both():
    frontend = DualLogMel()
    ratio = torch.tensor([1.25])
    shifted = frontend(tone(400.0, 1200.0), ratio)[0, 50]
    wanted = frontend(tone(500.0, 1500.0))[0, 50]
    for part in (slice(0, 64), slice(64, 256)):
        assert abs(int(shifted[part].argmax()) - int(wanted[part].argmax())) <= 1


@pytest.mark.parametrize("samples", [160, 700, 15999, 16640])
def test_every_length_gives_whole_frames(samples):
    assert DualLogMel()(torch.randn(2, samples)).shape == (2, samples // 160, 256)


def test_a_stretch_has_the_features_of_the_whole():
    wave = 0.1 * torch.randn(2, 48000, generator=torch.Generator().manual_seed(1))
    frontend = DualLogMel()
    whole = frontend(wave)
    for first, last in ((0, 100), (97, 203), (150, 300)):
        torch.testing.assert_close(mel_between(frontend, wave, first, last), whole[:, first:last], rtol=1e-5, atol=1e-5)


def test_each_resolution_has_its_own_statistics():
    frontend = DualLogMel()
    mean, std = torch.cat([torch.full((64,), 2.0), torch.full((192,), -3.0)]), torch.cat([torch.full((64,), 0.5), torch.full((192,), 4.0)])
    frontend.set_statistics(mean, std)
    assert frontend.mean.equal(mean) and frontend.std.equal(std)
    with pytest.raises(ValueError, match="statistics have .64,. bands, this frontend has 256"):
        frontend.set_statistics(mean[:64], std[:64])


@pytest.mark.parametrize("wrong, key", [({"fine_mels": 0}, "fine_mels"), ({"fine_win_length": 639}, "fine_win_length")])
def test_wrong_parameters_are_named(wrong, key):
    with pytest.raises(ParameterError, match=key):
        DualLogMel(**wrong)
