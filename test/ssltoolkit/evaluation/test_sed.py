"""SED post-processing against SciPy and plain loops."""

import numpy as np
import pytest
from scipy.ndimage import median_filter

from ssltoolkit.data.datadir import Event
from ssltoolkit.evaluation import sed
from ssltoolkit.evaluation.event_metrics import EventTable


def random_timeline(rng, files=4, longest=60):
    lengths = rng.integers(1, longest, size=files)
    hop = rng.choice([10.0, 40.0, 50.0, 100.0, 320.0])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return sed.Timeline(np.concatenate([hop * (np.arange(n) + 0.5) for n in lengths]), bounds)


@pytest.mark.parametrize("seed", range(20))
def test_median_filter_equals_scipy_then_threshold(seed):
    rng = np.random.default_rng(seed)
    timeline = random_timeline(rng)
    p = rng.random((timeline.bounds[-1], 3))
    widths = timeline.filter_widths(250.0)
    parts = [p[a:b] for a, b in zip(timeline.bounds[:-1], timeline.bounds[1:])]
    expected = np.concatenate([median_filter(part, size=(w, 1)) > 0.5 for part, w in zip(parts, widths)])
    np.testing.assert_array_equal(sed.MedianFilter(timeline, 250.0)(p > 0.5), expected)


def test_filter_width_is_the_duration_over_the_mean_hop_rounded():
    timeline = sed.Timeline(np.array([25.0, 75.0, 125.0, 160.0, 480.0]), np.array([0, 3, 5]))
    assert timeline.filter_widths(250.0).tolist() == [5, 1]


def slow_events(active, timeline, min_duration_ms, classes):
    """Return (file, label, onset, offset) by a loop over frames."""
    found = []
    for f, (a, b) in enumerate(zip(timeline.bounds[:-1], timeline.bounds[1:])):
        for c in range(classes):
            start = None
            for t in range(a, b + 1):
                on = t < b and active[t, c]
                if on and start is None:
                    start = t
                if not on and start is not None:
                    times = timeline.times_ms[start], timeline.times_ms[t - 1]
                    if times[1] - times[0] >= min_duration_ms:
                        found.append((f, c, times[0] / 1000.0, times[1] / 1000.0))
                    start = None
    return sorted(found)


@pytest.mark.parametrize("seed", range(10))
def test_decoder_equals_a_plain_loop_for_every_model(seed):
    rng = np.random.default_rng([seed, 3])
    timeline = random_timeline(rng)
    point = sed.Postprocessing(250.0, 125.0)
    decoder = sed.Decoder(timeline, [point])
    models, classes = 3, 2
    probabilities = rng.random((models, timeline.bounds[-1], classes)).round(1)
    active = (probabilities > 0.5).transpose(1, 0, 2).reshape(timeline.bounds[-1], -1)
    table = decoder.events(active, point, classes)
    for m in range(models):
        smooth = sed.MedianFilter(timeline, 250.0)(probabilities[m] > 0.5)
        here = table.file // timeline.num_files == m
        got = sorted(zip((table.file[here] % timeline.num_files).tolist(), *(c[here].tolist() for c in table[1:])))
        assert got == slow_events(smooth, timeline, 125.0, classes)


def test_a_single_frame_event_vanishes():
    timeline = sed.Timeline(320.0 * np.arange(10), np.array([0, 10]))
    active = np.zeros((10, 1), dtype=bool)
    active[4] = True
    point = sed.Postprocessing()
    assert len(sed.Decoder(timeline, [point]).events(active, point, 1).file) == 0


def test_frame_labels_include_the_onset_and_tolerate_the_offset():
    labels = sed.frame_labels(np.array([0.0, 100.0, 200.0, 200.00005, 300.0]), [Event(0.1, 0.2, "a")], {"a": 0})
    assert labels[:, 0].tolist() == [0, 1, 1, 1, 0]


def test_score_models_scores_each_model_alone():
    timeline = sed.Timeline(np.tile(40.0 * (np.arange(100) + 0.5), 2), np.array([0, 100, 200]))
    reference = EventTable.of([0, 1], [0, 1], [1.0, 2.0], [2.0, 3.0])
    perfect = np.zeros((200, 2))
    perfect[25:51, 0], perfect[150:176, 1] = 0.9, 0.9
    probabilities = np.stack([perfect, np.zeros_like(perfect), perfect[:, ::-1]])
    decoder = sed.Decoder(timeline, sed.postprocessing_grid())
    f = sed.score_models(probabilities, decoder, reference, "event_onset_200ms_fms")
    assert f.shape == (3, 2) and f[:, 0].tolist() == [1.0, 0.0, 0.0]
    undefined = sed.score_models(probabilities, decoder, reference, "event_onset_200ms_fms", nan_without_events=True)
    assert np.isnan(undefined[1]).all() and not np.isnan(undefined[[0, 2]]).any()
    assert sed.score_models(probabilities, decoder, reference, "segment_1s_er")[1, 0] == -1.0


def test_scores_do_not_depend_on_how_many_models_fit_at_once(monkeypatch):
    rng = np.random.default_rng(2)
    timeline = random_timeline(rng, files=3, longest=80)
    probabilities = rng.random((5, timeline.bounds[-1], 2))
    reference = EventTable.of([0, 2], [0, 1], [0.1, 0.2], [0.5, 0.9])
    decoder = sed.Decoder(timeline, sed.postprocessing_grid((0.1,), (0.0,)))
    whole = sed.score_models(probabilities, decoder, reference, "segment_1s_er")
    monkeypatch.setattr(sed, "MAX_DECISIONS", 1)
    np.testing.assert_array_equal(sed.score_models(probabilities, decoder, reference, "segment_1s_er"), whole)


def test_class_thresholds_find_a_badly_scaled_class():
    timeline = sed.Timeline(40.0 * (np.arange(100) + 0.5), np.array([0, 100]))
    probabilities = np.full((100, 2), 0.05)
    probabilities[25:51, 0], probabilities[60:86, 1] = 0.9, 0.3
    reference = EventTable.of([0, 0], [0, 1], [1.0, 2.4], [2.0, 3.4])
    point = sed.Postprocessing()
    decoder = sed.Decoder(timeline, [point])
    thresholds = sed.class_thresholds(probabilities, decoder, point, reference, "event_onset_200ms_fms")
    assert thresholds[0] == pytest.approx(0.5) and thresholds[1] < 0.3


@pytest.mark.parametrize("seed", range(5))
def test_events_too_short_for_the_grid_are_those_that_perfect_decisions_lose(seed):
    rng = np.random.default_rng([seed, 9])
    grid = sed.postprocessing_grid((120.0, 250.0), (0.0, 125.0))[seed % 3 :]
    flagged = lost = 0
    for _ in range(60):
        hop = rng.choice([10.0, 25.0, 40.0])
        timeline = sed.Timeline(hop * (np.arange(200) + 0.5), np.array([0, 200]))
        onset = rng.uniform(0.5, 1.0)
        event = Event(onset, onset + rng.uniform(0.01, 0.4), "a")
        active = sed.frame_labels(timeline.times_ms, [event], {"a": 0}) > 0
        decoder = sed.Decoder(timeline, grid)
        left = any(len(decoder.events(active, point, 1).file) for point in grid)
        (short,) = sed.too_short(EventTable.of([0], [0], [event.onset], [event.offset]), timeline, grid)
        assert not (short and left)
        flagged, lost = flagged + short, lost + (not left)
    assert 0.6 * lost < flagged < 60


def test_no_event_is_too_short_where_nothing_is_filtered():
    timeline = sed.Timeline(np.array([20.0, 60.0, 20.0]), np.array([0, 2, 3]))
    events = EventTable.of([0, 1], [0, 0], [0.0, 0.0], [0.001, 0.001])
    assert not sed.too_short(events, timeline, [sed.Postprocessing(40.0, 0.0), sed.Postprocessing()]).any()
    assert sed.too_short(events, timeline, [sed.Postprocessing()]).all()
