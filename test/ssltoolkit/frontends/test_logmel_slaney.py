"""logmel_slaney: librosa's mel scale and area, both logarithms, fixed statistics, and its use in views."""

import math

import numpy as np
import pytest
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.frontends.logmel_slaney import SlaneyLogMel, hz_to_mel_slaney, mel_to_hz_slaney
from ssltoolkit.registry import REGISTRY
from ssltoolkit.transforms.pitch import PitchShift
from ssltoolkit.transforms.render import Renderer
from ssltoolkit.transforms.views import View


def test_scale():
    hz = torch.tensor([0.0, 200 / 3, 999.9, 1000.0, 6400.0, 8000.0], dtype=torch.float64)
    mel = hz_to_mel_slaney(hz)
    expected = [f * 3 / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4) for f in hz.tolist()]
    np.testing.assert_allclose(mel, expected, rtol=1e-12)
    assert mel[4].item() == pytest.approx(42.0)  # 27 steps from 1 kHz to 6.4 kHz
    torch.testing.assert_close(mel_to_hz_slaney(mel), hz)


@pytest.mark.parametrize("n_fft, f_min, f_max", [(512, 50.0, 8000.0), (1024, 60.0, 7800.0)])
def test_bank_is_that_of_librosa(n_fft, f_min, f_max):
    functional = pytest.importorskip("torchaudio.functional", exc_type=ImportError)
    bank = functional.melscale_fbanks(n_fft // 2 + 1, f_min, f_max, 64, 16000, norm="slaney", mel_scale="slaney")
    frontend = SlaneyLogMel(n_fft=n_fft, win_length=n_fft, f_min=f_min, f_max=f_max)
    power = torch.rand(1, 5, n_fft // 2 + 1)
    torch.testing.assert_close(frontend.mel(power), power @ bank, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(frontend.bank * frontend.height, bank, rtol=1e-3, atol=1e-7)


def test_frames_are_those_of_logmel():
    wave = 0.1 * torch.randn(2, 16000)
    plain, slaney = LogMel(win_length=512), SlaneyLogMel()
    assert plain.power(wave).equal(slaney.power(wave)) and slaney(wave).shape == (2, 100, 64)


def test_logarithms_and_statistics():
    mel = torch.tensor([0.0, 1e-12, 1e-3, 2.0])
    decibel, natural = SlaneyLogMel(), SlaneyLogMel(log="natural", log_floor=1e-3, mean=-3.0, std=2.0)
    torch.testing.assert_close(decibel.log(mel), torch.tensor([-100.0, -100.0, -30.0, 10 * math.log10(2)]))
    torch.testing.assert_close(natural.log(mel), (mel + 1e-3).log())
    assert natural.normalized(torch.full((64,), 1.0)).tolist() == [2.0] * 64
    natural.set_statistics(torch.zeros(64), torch.ones(64))  # statistics of stage 3 do not replace the fixed ones
    assert natural.mean[0] == -3.0 and natural.std[0] == 2.0
    with pytest.raises(ValueError, match="bands"):
        natural.set_statistics(torch.zeros(3), torch.ones(3))


def test_pitch_ratio_moves_the_spectrum():
    time = torch.arange(16000) / 16000
    low, high = (torch.sin(2 * torch.pi * f * time)[None] for f in (800.0, 1200.0))
    frontend = SlaneyLogMel()
    shifted = frontend.mel(frontend.power(low), torch.tensor([1.5]))[0, 20:80].mean(0)
    wanted = frontend.mel(frontend.power(high))[0, 20:80].mean(0)
    assert shifted.argmax() == wanted.argmax()


def test_views_are_rendered_with_it():
    frontend, cut = REGISTRY.build("frontend", {"name": "logmel_slaney", "log": "natural"}), Cut("anchor")
    wave = 0.1 * torch.randn(3, 15360)
    features, _ = Renderer(frontend, [View(cut), View(cut, [PitchShift(4.0)])])({cut: wave}, {cut: np.zeros(3)}, [0])
    assert features.shape == (2, 3, 96, 64) and torch.isfinite(features).all() and not features[0].equal(features[1])
    assert features[0].equal(frontend(wave))


def test_ranges():
    for options in ({"std": 0.0}, {"f_max": 9000.0}, {"win_length": 600}, {"log_floor": 0.0}):
        with pytest.raises(ParameterError, match=next(iter(options))):
            SlaneyLogMel(**options)


def test_the_narrowest_band_is_one_of_its_own_scale():
    """Bands narrowed by a pitch ratio stay at least as wide as the narrowest of this bank, not of HTK's."""
    frontend, htk = SlaneyLogMel(n_mels=64, f_min=0.0), LogMel(n_mels=64, f_min=0.0, f_max=8000.0, win_length=512)
    assert htk.narrowest < 29  # Hz; Slaney's lowest bands are 46 Hz apart, so the spacing of bins decides
    assert frontend.narrowest == pytest.approx(0.999 * 16000 / 512, rel=1e-5)
