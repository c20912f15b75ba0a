"""transforms/formant.py: the envelope moves, harmonics stay."""

import numpy as np
import pytest
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.frontends.logmel_dual import DualLogMel
from ssltoolkit.transforms.formant import FormantShift, with_envelope
from ssltoolkit.transforms.pitch import PitchShift
from ssltoolkit.transforms.render import Renderer
from ssltoolkit.transforms.views import View

A = Cut("anchor")
RATIO = 1.19


def vowel(f0, scale=1.0):
    """(1, 16000): one second of harmonics of f0 under three resonances, whose frequencies are multiplied by scale."""
    time, wave = np.arange(16000) / 16000, np.zeros(16000)
    for frequency in np.arange(f0, 7800, f0):
        level = sum(1 / (1 + ((frequency - formant * scale) / 90) ** 2) for formant in (700, 1200, 2600))
        wave += level * np.cos(2 * np.pi * frequency * time)
    return torch.from_numpy(0.5 * wave / np.abs(wave).max()).float()[None]


def moved(frontend, wave, ratio=RATIO):
    """Log-mel of each resolution: as it is, and with the envelope at ``ratio`` times its frequencies."""
    power = frontend.power(wave)
    plain = frontend.resolutions(power)
    return [frontend.log(mel) for mel in plain], with_envelopes(frontend, power, None, torch.tensor([ratio]))


def with_envelopes(frontend, power, pitch, envelope):
    """Log-mel of each resolution with the envelope transposed by a further ratio."""
    mels = frontend.resolutions(power, pitch)
    others = frontend.resolutions(power, envelope if pitch is None else envelope * pitch)
    triples = zip(mels, others, frontend.envelope_bands)
    return [frontend.log(with_envelope(mel, other, frontend.log, width)) for mel, other, width in triples]


def first_harmonic(fine, f0):
    """Strongest of the fine bands from four semitones below to six above f0."""
    band = round(36 * np.log2(f0 / 50.0))
    return int(fine[0].mean(dim=0)[band - 12 : band + 18].argmax())


@pytest.mark.parametrize("f0", [110.0, 160.0, 220.0])
def test_the_envelope_moves_and_the_pitch_stays(f0):
    frontend = DualLogMel()
    plain, shifted = moved(frontend, vowel(f0))
    wanted = [frontend.log(mel) for mel in frontend.resolutions(frontend.power(vowel(f0, RATIO)))]
    before, after = ((a - b).abs().mean() for a, b in ((plain[0], wanted[0]), (shifted[0], wanted[0])))
    assert after < 0.6 * before
    assert abs(first_harmonic(shifted[1], f0) - first_harmonic(plain[1], f0)) <= 1
    transposed = frontend.log(frontend.resolutions(frontend.power(vowel(f0)), torch.tensor([RATIO]))[1])
    assert (
        abs(first_harmonic(transposed, f0) - first_harmonic(plain[1], f0) - 9) <= 1
    )  # three semitones, three bands each


def test_a_ratio_of_one_and_silence_change_nothing():
    frontend = DualLogMel()
    for wave, ratio in ((vowel(150.0), 1.0), (torch.zeros(1, 4800), 1.3)):
        for before, after in zip(*moved(frontend, wave, ratio)):
            torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frontend", [LogMel(), DualLogMel()], ids=["one", "two"])
def test_views_move_by_what_was_drawn_with_and_without_transposition(frontend):
    waves = {A: torch.cat([vowel(120.0), vowel(200.0)])}
    views = [View(A, (FormantShift(3.0),)), View(A, (FormantShift(3.0), PitchShift(4.0))), View(A)]
    features, rendered = Renderer(frontend, views)(waves, {A: np.zeros(2)}, [0, 1])
    power = frontend.power(frontend.leveled(waves[A]))
    for view, got in zip(rendered[:2], features):
        pitch = torch.from_numpy(view.params["pitch_shift"]["ratio"]) if "pitch_shift" in view.params else None
        envelope = torch.from_numpy(view.param("formant_shift", "ratio"))
        wanted = frontend.joined(with_envelopes(frontend, power, pitch, envelope))
        torch.testing.assert_close(got, frontend.normalized(wanted))
    assert not features[0].allclose(features[2], atol=0.1)


def test_draws():
    drawn = FormantShift(3.0).draw(5000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn["ratio"], 2 ** (drawn["semitones"] / 12), rtol=1e-5)
    assert -3 <= drawn["semitones"].min() < -2.9 and 2.9 < drawn["semitones"].max() <= 3


@pytest.mark.parametrize("shift", [0.0, -1.0, 12.5])
def test_ranges(shift):
    with pytest.raises(ParameterError) as caught:
        FormantShift(shift)
    assert caught.value.parameter == "max_shift"
