"""frontends/logmel.py: agreement with torchaudio, number of frames, transposition by reading the spectrum at f / r."""

import numpy as np
import pytest
import torch

from ssltoolkit.errors import ParameterError
from ssltoolkit.frontends.logmel import LogMel, hz_to_mel, mel_to_hz, statistics_of


def noise(batch=3, samples=16000, seed=0):
    return 0.3 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def harmonic(f0, samples=32000, rate=16000):
    time = np.arange(samples) / rate
    partials = [np.sin(2 * np.pi * k * f0 * time + k * k) / k for k in range(1, 8) if k * f0 < 7500]
    return torch.from_numpy(0.2 * np.sum(partials, axis=0)).float()[None]


@pytest.mark.parametrize("samples", [15360, 16000, 4001, 160])
@pytest.mark.parametrize("bands, low, high", [(64, 60.0, 7800.0), (80, 0.0, 8000.0)])
def test_agrees_with_torchaudio(samples, bands, low, high):
    transforms = pytest.importorskip("torchaudio.transforms")
    wave = noise(samples=samples)
    frontend = LogMel(n_mels=bands, f_min=low, f_max=high)
    reference = transforms.MelSpectrogram(
        16000, n_fft=512, win_length=400, hop_length=160, f_min=low, f_max=high, n_mels=bands, center=False, mel_scale="htk", norm=None
    )  # fmt: skip
    frames, left = samples // 160, (512 - 160) // 2
    padded = torch.nn.functional.pad(wave, (left, max(0, (frames - 1) * 160 + 512 - left - samples)))
    expected = torch.log(reference(padded) + 1e-5).transpose(1, 2)[:, :frames]
    torch.testing.assert_close(frontend(wave), expected, rtol=1e-4, atol=1e-4)


def test_agrees_with_a_slow_numpy_reference():
    wave = noise(1, 2000)
    frontend = LogMel(n_mels=20)
    signal = np.concatenate([np.zeros(176), wave[0].double().numpy(), np.zeros(512)])
    window = np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    mels = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 7800 / 700), 22)
    edges = 700 * (10 ** (mels / 2595) - 1)
    for frame, row in enumerate(frontend(wave)[0]):
        power = np.abs(np.fft.rfft(signal[frame * 160 : frame * 160 + 512] * window)) ** 2
        for band in range(20):
            total = 0.0
            for k in range(257):
                low, centre, high = edges[band : band + 3]
                f = k * 16000 / 512
                total += power[k] * max(0.0, min((f - low) / (centre - low), (high - f) / (high - centre)))
            assert row[band].item() == pytest.approx(np.log(total + 1e-5), abs=2e-4)


def fundamental(frontend, mel):
    """Frequency of the strongest peak of mel power (B, T, M), as the centroid of the bands around it."""
    power = mel[0, 5:-5].mean(0).double() / (frontend.edges[2] - frontend.edges[0]).double()
    peak = int(power.argmax())
    around = slice(max(0, peak - 6), peak + 7)
    return float((power[around] * frontend.edges[1][around]).sum() / power[around].sum())


@pytest.mark.parametrize("f0", [110.0, 146.8, 220.0, 330.0, 523.3, 880.0, 1200.0])
def test_a_tone_shifted_by_r_has_its_fundamental_at_r_times_f0(f0):
    fine = LogMel(n_fft=8192, win_length=8192, hop_length=1600, n_mels=800, f_min=40.0)
    power = fine.power(harmonic(f0))
    for ratio in (0.5, 0.7, 0.8, 0.9, 0.97, 1.0, 1.03, 1.1, 1.25, 1.5, 2.0):
        measured = fundamental(fine, fine.mel(power, torch.tensor([ratio])))
        assert measured == pytest.approx(ratio * f0, rel=0.01), ratio


@pytest.mark.parametrize("semitones", [-4, -2, 1, 3, 4])
def test_shifting_resembles_the_tone_played_there(semitones):
    frontend, ratio = LogMel(), 2 ** (semitones / 12)
    played, original = frontend(harmonic(500 * ratio)), frontend(harmonic(500))
    shifted = frontend(harmonic(500), torch.tensor([ratio]))
    distance = [(view - played)[:, 5:-5].abs().mean().item() for view in (shifted, original)]
    assert distance[0] < 0.3 * distance[1]


def test_ratio_one_equals_the_plain_frontend():
    frontend, wave = LogMel(), noise(5)
    torch.testing.assert_close(frontend(wave, torch.ones(5)), frontend(wave), rtol=1e-6, atol=1e-6)


def test_each_clip_has_its_own_ratio():
    frontend, wave = LogMel(), noise(3)
    ratio = torch.tensor([0.8, 1.0, 1.2])
    together = frontend(wave, ratio)
    for k in range(3):
        torch.testing.assert_close(
            together[k : k + 1], frontend(wave[k : k + 1], ratio[k : k + 1]), rtol=1e-6, atol=1e-6
        )


def test_no_band_is_empty_when_shifted_down():
    """Bands that would read above half the sample rate read the highest frequencies below it."""
    frontend = LogMel(normalize="none")
    plain = frontend(noise(1))
    for ratio in (0.5, 0.75, 0.9):
        lowered = frontend(noise(1), torch.tensor([ratio]))
        assert (lowered[..., -4:].mean() - plain[..., -4:].mean()).abs() < 1.0


def test_no_band_is_empty_when_shifted_up():
    frontend = LogMel()
    ratios = 2.0 ** (torch.arange(0, 145) / 144)  # up to an octave
    heights = frontend._triangles(frontend._warped(ratios)).amax(1)
    assert heights.min() > 0.2 and frontend.bank.amax(0).min() > 0.2


@pytest.mark.parametrize("samples", [15360, 4001])
def test_a_large_batch_is_transformed_in_parts_that_do_not_show(samples):
    frontend, wave = LogMel(), noise(11, samples)
    power = frontend.power(wave)
    assert all(power[k : k + 1].equal(frontend.power(wave[k : k + 1])) for k in range(11))
    differentiated = wave.clone().requires_grad_()
    whole = frontend.power(differentiated)  # in one part, as its gradient requires
    torch.testing.assert_close(whole, power, rtol=1e-6, atol=0)
    (found,) = torch.autograd.grad(frontend(differentiated).sum(), differentiated)
    exact = LogMel().double()
    precise = wave.double().requires_grad_()
    (wanted,) = torch.autograd.grad(exact(precise).sum(), precise)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-2, atol=1e-2 * wanted.abs().mean().item())


@pytest.mark.parametrize(
    "samples, frames", [(160, 1), (319, 1), (320, 2), (400, 2), (512, 3), (15359, 95), (15360, 96), (160001, 1000)]
)
def test_frame_count(samples, frames):
    frontend = LogMel()
    assert frontend(torch.zeros(1, samples)).shape == (1, frames, 64)
    assert frontend.frame_count(samples) == frames and frontend.hop_ms == 10.0


def test_frame_t_is_centred_at_t_plus_a_half_hops():
    wave = torch.zeros(1, 3200)
    wave[0, 1680] = 1.0  # the middle of frame 10
    energy = LogMel().power(wave).sum(-1)[0]
    assert energy.argmax() == 10
    assert energy[9].item() == pytest.approx(energy[11].item(), rel=1e-4)


@pytest.mark.parametrize(
    "wave", [torch.zeros(1, 4000), torch.ones(1, 4000), 1e-30 * torch.ones(1, 4000), 1e4 * noise(1, 4000)]
)
def test_finite_on_silence_and_extremes(wave):
    assert torch.isfinite(LogMel()(wave, torch.tensor([1.3]))).all()
    assert torch.isfinite(LogMel()(wave)).all()


@pytest.mark.parametrize("wave", [torch.zeros(4000), torch.zeros(1, 1, 4000), torch.zeros(1, 159), torch.zeros(1, 0)])
def test_other_shapes_are_refused(wave):
    with pytest.raises(ValueError, match="expected waves of shape"):
        LogMel()(wave)


def test_normalisation():
    wave = noise(4)
    raw = LogMel(normalize="none")(wave)
    flat = raw.reshape(-1, 64).double()
    mean, std = statistics_of(flat.sum(0), flat.square().sum(0), len(flat))
    results = {}
    for kind in ("global", "band", "none"):
        frontend = LogMel(normalize=kind)
        frontend.set_statistics(mean.float(), std.float())
        results[kind] = frontend(wave).reshape(-1, 64)
    assert results["none"].equal(raw.reshape(-1, 64))
    assert results["global"].mean().abs() < 1e-4 and (results["global"].std() - 1).abs() < 1e-3
    torch.testing.assert_close(results["band"].mean(0), torch.zeros(64), rtol=0, atol=1e-4)
    torch.testing.assert_close(results["band"].std(0, correction=0), torch.ones(64), rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="this frontend has 64"):
        LogMel().set_statistics(torch.zeros(3), torch.ones(3))


def test_statistics_travel_with_the_weights():
    one, other = LogMel(), LogMel()
    one.set_statistics(torch.full((64,), -3.0), torch.full((64,), 2.0))
    assert set(one.state_dict()) == {"mean", "std"}
    other.load_state_dict(one.state_dict())
    assert other(noise()).equal(one(noise()))


def test_mel_scale_inverts():
    hz = torch.linspace(0, 8000, 50, dtype=torch.float64)
    torch.testing.assert_close(mel_to_hz(hz_to_mel(hz)), hz)
    assert hz_to_mel(torch.tensor(1000.0)).item() == pytest.approx(999.99, abs=0.01)


@pytest.mark.parametrize(
    "arguments, parameter",
    [
        ({"sample_rate": 10}, "sample_rate"), ({"win_length": 600}, "win_length"), ({"hop_length": 0}, "hop_length"),
        ({"n_mels": 0}, "n_mels"), ({"f_min": -1.0}, "f_min"), ({"f_max": 50.0}, "f_max"), ({"f_max": 8001.0}, "f_max"),
        ({"f_max": float("nan")}, "f_max"), ({"log_floor": 0.0}, "log_floor"),
    ],
)  # fmt: skip
def test_ranges(arguments, parameter):
    with pytest.raises(ParameterError) as caught:
        LogMel(**arguments)
    assert caught.value.parameter == parameter


def test_features_do_not_depend_on_how_loud_the_input_is():
    frontend, wave = LogMel(input_level=-20.0), noise()
    level = frontend.leveled(wave)
    for gain in (0.01, 0.3, 3.0):
        torch.testing.assert_close(frontend.leveled(gain * wave), level, rtol=1e-4, atol=1e-6)
    loudest = level.square().unfold(1, 400, 160).mean(2).amax(1).sqrt()
    torch.testing.assert_close(20 * torch.log10(loudest), torch.full((3,), -20.0), rtol=0, atol=0.01)
    silent = torch.nn.functional.pad(wave, (0, 8000))
    torch.testing.assert_close(frontend.leveled(silent)[:, :16000], level)
    assert LogMel().leveled(wave) is wave and frontend.leveled(torch.zeros(1, 800)).eq(0).all()
    faint = 1e-6 * wave  # near silence is not amplified to full level
    assert frontend.leveled(faint).abs().max() < 0.01 * level.abs().max()


@pytest.mark.parametrize("level", [1.0, -101.0])
def test_range_of_the_input_level(level):
    with pytest.raises(ParameterError, match="input_level"):
        LogMel(input_level=level)
