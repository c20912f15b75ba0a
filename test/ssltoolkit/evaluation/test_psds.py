"""PSDS of posteriors whose score is known."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.evaluator import scores_of
from ssltoolkit.evaluation.event_metrics import EventTable
from ssltoolkit.evaluation.psds import RESAMPLES, SCENARIOS, _edges, _truth, psds, require
from ssltoolkit.evaluation.round_result import RoundResult
from ssltoolkit.evaluation.sed import Timeline
from ssltoolkit.evaluation.task import build_task

FILES, FRAMES, HOP_MS, CLASSES = 6, 150, 40.0, ("bell", "dog")
TIMELINE = Timeline(np.tile((np.arange(FRAMES) + 0.5) * HOP_MS, FILES), np.arange(FILES + 1) * FRAMES)


def reference(seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (file, label, start, start + rng.uniform(0.6, 1.2))
        for file in range(FILES)
        for label, start in ((0, rng.uniform(0, 1)), (1, rng.uniform(3, 4)))
    ]
    return EventTable.of(*zip(*rows))


def perfect(events):
    posteriors = np.full((FILES * FRAMES, len(CLASSES)), 0.01, np.float32)
    file = TIMELINE.file_of_frame()
    for f, label, onset, offset in zip(*events):
        on = (file == f) & (TIMELINE.times_ms >= 1000 * onset) & (TIMELINE.times_ms < 1000 * offset)
        posteriors[on, label] = 0.9
    return posteriors


def test_perfect_silent_and_half_right_systems():
    try:
        require()
    except UserError as error:
        pytest.skip(str(error))
    events = reference()
    right = perfect(events)
    one_class = right.copy()
    one_class[:, 1] = 0.01
    scores = psds([right, np.full_like(right, 0.01), one_class], TIMELINE, events, CLASSES, [0.0, 0.0, 0.0])
    assert set(scores) == set(SCENARIOS) and all(values.shape == (3, 1 + RESAMPLES) for values in scores.values())
    for values in scores.values():
        assert values[0] == pytest.approx(1.0)
    # Constant posteriors give one detection per file or none; an event covers too little of it for scenario 1.
    assert scores["psds1"][1] == pytest.approx(0.0)
    # Mean minus standard deviation over classes, one detected perfectly and one not at all: 0.5 - 0.5.
    assert scores["psds1"][2, 0] == pytest.approx(0.0, abs=1e-6)


def test_each_model_has_its_own_filter():
    try:
        require()
    except UserError as error:
        pytest.skip(str(error))
    events = reference()
    noisy = perfect(events)
    noisy[::4] = 0.01  # removed by a median filter of five frames
    scores = psds([noisy, noisy], TIMELINE, events, CLASSES, [0.0, 5 * HOP_MS])["psds1"]
    assert scores[0, 0] < 0.5 and scores[1, 0] > 0.9


def test_the_interval_is_over_files_and_seeds():
    # Two seeds, 0.2 and 0.6 for every file: the mean has a standard error of 0.2, which the interval includes.
    values = np.repeat([[0.2], [0.6]], 1 + RESAMPLES, axis=1)
    data = SimpleNamespace(task=build_task("sed"), metrics=())
    score = scores_of(data, [RoundResult(SimpleNamespace(), {}, [], resampled={"psds1": values})])["psds1"]
    assert score["mean"] == pytest.approx(0.4) and score["per_seed"] == [0.2, 0.6]
    low, high = score["ci95"]
    assert low < 0.2 and high > 0.6


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sed_scores_eval", None)
    monkeypatch.setitem(sys.modules, "sed_scores_eval.intersection_based", None)
    with pytest.raises(UserError, match="pip install"):
        require()


def test_touching_events_of_a_class_become_one():
    events = EventTable.of([0, 0, 0, 1], [0, 0, 1, 0], [1.0, 2.0, 1.5, 0.0], [2.0, 3.0, 1.8, 1.0])
    assert _truth(events, ["a", "b"], CLASSES) == {
        "a": [(1.0, 3.0, "bell"), (1.5, 1.8, "dog")],
        "b": [(0.0, 1.0, "bell")],
    }


def test_frames_end_half_way_between_their_centres():
    timeline = Timeline(np.array([20.0, 60.0, 100.0, 500.0]), np.array([0, 3, 4]))
    np.testing.assert_allclose(_edges(timeline, 0), [0.0, 0.04, 0.08, 0.12])
    np.testing.assert_allclose(_edges(timeline, 1), [0.0, 1.0])
