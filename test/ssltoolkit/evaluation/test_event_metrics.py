"""Event and segment metrics against a brute-force reference and against sed_eval."""

import itertools
import math
import warnings

import numpy as np
import pytest

from ssltoolkit.evaluation import event_metrics as em

VOCABULARY = ["a", "b", "c"]
ALL_METRICS = [*em.EVENT_METRICS, *em.SEGMENT_METRICS]


def random_events(rng, count):
    onsets = np.round(rng.uniform(0, 10, count), 2)
    lengths = np.round(rng.uniform(0.02, 2, count), 2)
    return [(float(on), float(on + d), VOCABULARY[rng.integers(3)]) for on, d in zip(onsets, lengths)]


def jittered(rng, events):
    moved = [
        (max(0.0, round(on + rng.normal() * 0.12, 2)), round(off + rng.normal() * 0.12, 2), name)
        for on, off, name in events
    ]
    return [event for event in moved if event[1] > event[0] and rng.random() < 0.8]


def random_case(seed, files=3, most=20):
    """Draw reference and system events of a few files; in half of the cases the system is near the reference."""
    rng = np.random.default_rng([seed, 5])
    reference = [random_events(rng, rng.integers(0, most)) for _ in range(files)]
    reference[0] = reference[0] or random_events(rng, 1)
    if seed % 2:
        return reference, [jittered(rng, events) + random_events(rng, rng.integers(0, 4)) for events in reference]
    return reference, [random_events(rng, rng.integers(0, most)) for _ in range(files)]


def scores(reference, system):
    tables = [em.EventTable.from_lists(events, VOCABULARY) for events in (reference, system)]
    return em.sed_scores(em.sed_statistics(*tables, len(reference), ALL_METRICS))


def largest_matching(edges, left, right):
    """Size of the largest one-to-one matching, by exhaustive search (small graphs only)."""
    best = 0
    for size in range(min(left, right), 0, -1):
        for chosen in itertools.combinations(edges, size):
            if len({i for i, _ in chosen}) == len({j for _, j in chosen}) == size:
                return size
    return best


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("metric", em.EVENT_METRICS)
def test_matching_is_the_largest_possible(seed, metric):
    rng = np.random.default_rng([seed, 1])
    reference = [(on, on + d, "a") for on, d in zip(rng.uniform(0, 0.6, 4), rng.uniform(0.1, 0.4, 4))]
    system = [(on, on + d, "a") for on, d in zip(rng.uniform(0, 0.6, 4), rng.uniform(0.1, 0.4, 4))]
    collar, share = em.EVENT_METRICS[metric]
    edges = [
        (i, j)
        for (i, r), (j, s) in itertools.product(enumerate(reference), enumerate(system))
        if abs(r[0] - s[0]) <= collar and (share is None or abs(r[1] - s[1]) <= max(collar, share * (r[1] - r[0])))
    ]
    tables = [em.EventTable.from_lists([events], VOCABULARY) for events in (reference, system)]
    counts = em.event_counts(*tables, 1, collar, share)
    assert counts.tolist() == [[largest_matching(edges, 4, 4), 4, 4]]


def slow_segment_counts(reference, system, length=1.0):
    rows = []
    for one, two in zip(reference, system):
        totals = [0, 0, 0, 0]
        end = max([0.0, *(event[1] for event in one + two)])
        for k in range(math.ceil(end / length)):
            active = [
                {n for on, off, n in events if math.floor(on / length) <= k < math.ceil(off / length)}
                for events in (one, two)
            ]
            ref, sys, both = len(active[0]), len(active[1]), len(active[0] & active[1])
            for place, value in enumerate((min(ref, sys) - both, max(0, ref - sys), max(0, sys - ref), ref)):
                totals[place] += value
        rows.append(totals)
    return rows


@pytest.mark.parametrize("seed", range(10))
def test_segment_counts_agree_with_a_plain_loop(seed):
    reference, system = random_case(seed)
    tables = [em.EventTable.from_lists(events, VOCABULARY) for events in (reference, system)]
    assert em.segment_counts(*tables, len(reference)).tolist() == slow_segment_counts(reference, system)


def sed_eval_scores(sed_eval, reference, system):
    from dcase_util.containers import MetaDataContainer

    make = sed_eval.sound_event.EventBasedMetrics
    judges = {
        name: make(
            VOCABULARY, t_collar=collar, percentage_of_length=share or 0.5, evaluate_offset=share is not None,
            event_matching_type="optimal",
        )
        for name, (collar, share) in em.EVENT_METRICS.items()
    }  # fmt: skip
    segments = sed_eval.sound_event.SegmentBasedMetrics(VOCABULARY, time_resolution=1.0)
    for number, pair in enumerate(zip(reference, system)):
        lists = [
            MetaDataContainer(
                [{"filename": str(number), "onset": on, "offset": off, "event_label": name} for on, off, name in events]
            )
            for events in pair
        ]
        for judge in (*judges.values(), segments):
            judge.evaluate(*lists)
    found = {name: judge.results_overall_metrics()["f_measure"]["f_measure"] for name, judge in judges.items()}
    found["segment_1s_er"] = segments.results_overall_metrics()["error_rate"]["error_rate"]
    return {name: 0.0 if math.isnan(value) else float(value) for name, value in found.items()}


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_sed_eval_on_200_random_cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import sed_eval
        except ImportError as error:
            pytest.skip(f"sed_eval cannot be imported ({error}); pip install sed_eval dcase_util 'setuptools<82'")
    for seed in range(200):
        case = random_case(seed, files=1 + seed % 3, most=12)
        expected, got = sed_eval_scores(sed_eval, *case), scores(*case)
        for name, value in expected.items():
            assert got[name] == pytest.approx(value, abs=1e-9), (seed, name)


def test_no_predictions_give_zero_f_and_an_error_rate_of_one():
    found = scores([[(0.5, 1.5, "a")]], [[]])
    assert found == {**{name: 0.0 for name in em.EVENT_METRICS}, "segment_1s_er": 1.0}


def test_no_events_at_all_give_finite_scores():
    assert all(np.isfinite(value) for value in scores([[]], [[]]).values())


def test_the_collar_is_inclusive_and_labels_must_agree():
    on_time = em.EventTable.of([0], [0], [1.0], [2.0])
    assert em.event_counts(on_time, em.EventTable.of([0], [0], [1.2], [3.0]), 1, abs(1.0 - 1.2))[0, 0] == 1
    assert em.event_counts(on_time, em.EventTable.of([0], [1], [1.0], [2.0]), 1, 0.2)[0, 0] == 0
    assert em.event_counts(on_time, em.EventTable.of([1], [0], [1.0], [2.0]), 2, 0.2)[:, 0].sum() == 0


def test_per_file_statistics_add_up_to_the_score():
    reference, system = random_case(7, files=8)
    tables = [em.EventTable.from_lists(events, VOCABULARY) for events in (reference, system)]
    statistics = em.sed_statistics(*tables, 8, ALL_METRICS)
    for name, counts in statistics.items():
        each = [
            em.sed_statistics(*(em.EventTable.from_lists([e[f]], VOCABULARY) for e in (reference, system)), 1, [name])
            for f in range(8)
        ]
        np.testing.assert_array_equal(counts, np.concatenate([one[name] for one in each]))
