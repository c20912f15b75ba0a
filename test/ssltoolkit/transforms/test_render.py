"""transforms/render.py, views.py: distinct views are rendered once, with equal results if they share spectrograms."""

import numpy as np
import pytest
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.frontends.logmel_dual import DualLogMel
from ssltoolkit.frontends.logmel_slaney import SlaneyLogMel
from ssltoolkit.transforms.formant import FormantShift
from ssltoolkit.transforms.level import Filter, Gain, Mix, WhiteNoise
from ssltoolkit.transforms.masking import Mask
from ssltoolkit.transforms.pitch import PitchShift
from ssltoolkit.transforms.render import Renderer, distinct
from ssltoolkit.transforms.views import View

A, B = Cut("anchor"), Cut("positive")
VIEWS = [
    View(A),
    View(A, (Gain(),)),
    View(A, (Gain(),), draw=1),
    View(A, (WhiteNoise(0.01), Gain())),
    View(A, (WhiteNoise(0.01), Filter())),
    View(A, (WhiteNoise(0.01), Filter()), draw=1),
    View(B, (Mix(probability=1.0), Gain(), Filter(), Mask(), PitchShift())),
    View(B),
]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    waves = {cut: 0.1 * torch.randn(4, 4800, generator=generator) for cut in (A, B)}
    return waves, {A: np.arange(4.0), B: np.arange(4.0) + 0.5}


@pytest.mark.parametrize("frontend", [LogMel(), DualLogMel()], ids=["one", "two"])
def test_sharing_spectrograms_changes_nothing(batch, frontend):
    together, _ = Renderer(frontend, VIEWS)(*batch, [0, 7])
    for view, features in zip(VIEWS, together):
        alone, rendered = Renderer(frontend, [view])(*batch, [0, 7])
        assert alone[0].equal(features), view
    backwards, _ = Renderer(frontend, VIEWS[::-1])(*batch, [0, 7])
    assert backwards.flip(0).equal(together)


def test_seed_and_step_decide_everything(batch):
    renderer = Renderer(LogMel(), VIEWS)
    first, rendered = renderer(*batch, [0, 7])
    torch.rand(10)  # torch's global generator is not used
    np.random.rand(10)
    second, _ = renderer(*batch, [0, 7])
    assert first.equal(second) and first.shape == (len(VIEWS), 4, 30, 64)
    other, _ = renderer(*batch, [0, 8])
    assert first[0].equal(other[0]) and first[7].equal(other[7])  # these views draw nothing
    assert all(not first[k].equal(other[k]) for k in range(1, 7))
    assert not first[1].equal(first[2]) and not first[4].equal(first[5])


def test_what_was_drawn_is_what_was_applied(batch):
    frontend = LogMel()
    features, rendered = Renderer(frontend, VIEWS)(*batch, [3, 1])
    db = rendered[1].param("gain", "db")
    mel = frontend.mel(frontend.power(batch[0][A])) * torch.from_numpy(10 ** (db / 10))[:, None, None]
    torch.testing.assert_close(features[1], frontend.normalized(frontend.log(mel)), rtol=1e-4, atol=1e-4)
    ratio = torch.from_numpy(rendered[6].param("pitch_shift", "ratio"))
    shifted, drawn = Renderer(frontend, [View(B, (PitchShift(),))])(*batch, [3, 1])
    assert shifted[0].equal(frontend(batch[0][B], torch.from_numpy(drawn[0].param("pitch_shift", "ratio"))))
    assert ratio.shape == (4,) and rendered[0].param("gain", "db") is None
    assert (rendered[7].start == batch[1][B]).all() and rendered[6].view == VIEWS[6]


def test_domains_are_applied_in_order_whatever_the_list_says(batch):
    frontend = LogMel()
    view = View(A, (Filter(), PitchShift(), WhiteNoise(), Gain()))
    assert [[t.registered_name for t in view.of_domain(d)] for d in ("wave", "pitch", "mel", "log")] == [
        ["white_noise"], ["pitch_shift"], ["gain"], ["filter"],
    ]  # fmt: skip
    assert torch.isfinite(Renderer(frontend, [view])(*batch, [0])[0]).all()


def test_equal_views_are_one():
    views = [
        View(A, [Gain()]),
        View(A, (Gain(),)),
        View(A),
        View(A, (Gain(),), draw=1),
        View(A, (Gain(-1.0),)),
        View(B, (Gain(),)),
    ]
    assert distinct(views + views) == [views[0], *views[2:]]


def test_a_view_lists_a_transform_once():
    with pytest.raises(ParameterError, match="'gain' twice in one view"):
        View(A, (Gain(-3.0, 0.0), Filter(), Gain(0.0, 3.0)))


def test_statistics_are_applied_once(batch):
    frontend = LogMel()
    plain, _ = Renderer(frontend, VIEWS)(*batch, [0, 7])
    frontend.set_statistics(torch.full((64,), -5.0), torch.full((64,), 2.0))
    scaled, _ = Renderer(frontend, VIEWS)(*batch, [0, 7])
    torch.testing.assert_close(scaled, (plain + 5.0) / 2.0)


def test_both_resolutions_are_transformed_each_along_its_own_axis(batch):
    view = View(A, (Gain(), Filter(max_db=12.0)))
    dual = DualLogMel(fine_bands=100, fine_f_min=200.0)
    features, drawn = Renderer(dual, [view])(*batch, [0, 3])
    plain, _ = Renderer(dual, [View(A)])(*batch, [0, 3])
    one, _ = Renderer(LogMel(), [view])(*batch, [0, 3])
    assert features[..., :64].equal(one)
    decibels = (
        torch.from_numpy(drawn[0].param("gain", "db"))[:, None]
        + torch.nn.functional.interpolate(
            torch.from_numpy(drawn[0].param("filter", "db"))[:, None], size=100, mode="linear", align_corners=True
        )[:, 0]
    )
    loud = plain[0, ..., 64:] > -5  # where the floor of the logarithm is negligible
    assert loud.float().mean() > 0.3
    change = (features - plain)[0, ..., 64:] * 10 / np.log(10)
    torch.testing.assert_close(change[loud], decibels[:, None].expand_as(change)[loud], rtol=0, atol=0.2)


def test_both_resolutions_are_transposed_alike(batch):
    dual = DualLogMel()
    features, drawn = Renderer(dual, [View(A, (PitchShift(),))])(*batch, [0, 3])
    wave = batch[0][A]
    wanted = dual(dual.leveled(wave), torch.from_numpy(drawn[0].param("pitch_shift", "ratio")))
    torch.testing.assert_close(features[0], wanted)


def test_a_background_has_one_level_in_both_resolutions(batch):
    waves, starts = batch
    waves = {cut: wave * torch.tensor([1.0, 0.1, 0.5, 2.0])[:, None] for cut, wave in waves.items()}
    dual = DualLogMel()
    view = View(A, (Mix(0.0, 0.0, 1.0),))
    features, drawn = Renderer(dual, [view])(waves, starts, [0, 5])
    power = dual.resolutions(dual.power(dual.leveled(waves[A])))
    partner = torch.from_numpy(drawn[0].param("mix", "partner"))
    scale = (power[0].mean((1, 2)) / power[0].mean((1, 2))[partner])[:, None, None]
    wanted = dual.normalized(dual.joined([dual.log(mel + scale * mel[partner]) for mel in power]))
    torch.testing.assert_close(features[0], wanted)


@pytest.mark.parametrize("frontend", [LogMel(), DualLogMel()], ids=["one", "two"])
def test_features_have_full_precision_whatever_the_encoder_has(batch, frontend):
    wanted, _ = Renderer(frontend, VIEWS)(*batch, [0, 7])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = Renderer(frontend, VIEWS)(*batch, [0, 7])
    assert features.dtype == torch.float32 and features.equal(wanted)


@pytest.mark.parametrize("transform", [Filter(max_db=6), FormantShift(3.0), Mask()], ids=lambda t: t.registered_name)
def test_a_frontend_in_decibels_gives_the_same_changes(batch, transform):
    views = [View(A), View(A, (transform,))]
    natural, decibel = (
        Renderer(SlaneyLogMel(log=form, log_floor=1e-12), views)(*batch, [0, 7])[0] for form in ("natural", "decibel")
    )
    changes = (natural[1] - natural[0], (decibel[1] - decibel[0]) * (np.log(10) / 10))
    assert changes[0].abs().max() > 0.1
    torch.testing.assert_close(*changes, rtol=1e-3, atol=1e-3)
