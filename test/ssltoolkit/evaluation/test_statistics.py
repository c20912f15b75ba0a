"""Intervals and paired tests."""

import numpy as np
import pytest

from ssltoolkit.evaluation.event_metrics import SED_METRICS
from ssltoolkit.evaluation.metrics import MEAN_AP, TOP1_ACC, mean_average_precision
from ssltoolkit.evaluation.statistics import Counted, Ranked, compare, confidence_interval, mean_score, over_drawn_seeds

ONSET_200, ONSET_50, _, ERROR_RATE = SED_METRICS


def accuracies(probability, files=400, seeds=3, seed=0):
    rng = np.random.default_rng([seed, files])
    return Counted(TOP1_ACC, (rng.random((seeds, files, 1)) < probability).astype(int))


def test_scores_of_counts():
    counts = np.array([[[1, 2, 2], [0, 1, 1]], [[2, 2, 2], [1, 1, 1]]])
    assert Counted(ONSET_200, counts).scores().tolist() == pytest.approx([1 / 3, 1.0])
    errors = np.array([[[1, 0, 1, 4], [0, 2, 0, 4]]])
    assert Counted(ERROR_RATE, errors).scores().tolist() == [0.5]


def test_ranked_scores_equal_the_metric():
    rng = np.random.default_rng(0)
    scores, targets = rng.random((2, 30, 4)), (rng.random((30, 4)) < 0.4).astype(int)
    expected = [mean_average_precision(one, targets) for one in scores]
    assert Ranked(MEAN_AP, scores, targets).scores().tolist() == pytest.approx(expected)


def test_resampling_equals_repeating_files():
    counts = np.random.default_rng(1).integers(0, 5, size=(2, 20, 3))
    weights = np.random.default_rng(2).multinomial(20, np.full(20, 0.05), size=6).astype(float)
    found = Counted(ONSET_50, counts).resampled(weights)
    for row, weight in zip(found, weights.astype(int)):
        again = counts[:, np.repeat(np.arange(20), weight)]
        assert row.tolist() == pytest.approx(Counted(ONSET_50, again).scores().tolist())


def test_the_interval_of_an_accuracy_has_the_binomial_width():
    low, high = confidence_interval([accuracies(0.7, seeds=1)])
    assert low < 0.7 < high and high - low == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 400), rel=0.25)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(60):
        low, high = confidence_interval([accuracies(0.7, files=200, seeds=1, seed=seed)], resamples=300)
        inside += low <= 0.7 <= high
    assert inside >= 51


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(0)
    base = (rng.random((1, 400, 1)) < 0.7).astype(int)
    agree = Counted(TOP1_ACC, np.repeat(base, 3, axis=0))
    differ = Counted(TOP1_ACC, np.concatenate([base, np.zeros_like(base), np.ones_like(base)]))
    widths = [np.diff(confidence_interval([one]))[0] for one in (agree, differ)]
    assert widths[1] > 3 * widths[0]


def test_folds_are_averaged():
    folds = [accuracies(0.9), accuracies(0.5, files=100)]
    assert mean_score(folds).tolist() == pytest.approx(np.mean([f.scores() for f in folds], axis=0).tolist())
    low, high = confidence_interval(folds)
    assert low < mean_score(folds).mean() < high


@pytest.mark.parametrize("folds, files", [(20, 1), (2, 10)])
def test_few_files_in_each_fold_are_no_evidence(folds, files):
    def drawn():
        return [Counted(TOP1_ACC, one[None, :, None]) for one in (rng.random((folds, files)) < 0.6).astype(int)]

    rng, found, inside = np.random.default_rng(0), 0, 0
    for _ in range(80):
        a, b = drawn(), drawn()
        found += compare(a, b, resamples=200).p_value < 0.05
        low, high = confidence_interval(a, resamples=200)
        inside += low <= 0.6 <= high
    assert found <= 8 and inside >= 72


def test_a_difference_that_all_files_share_depends_on_their_number():
    def found(files):
        return compare(*([Counted(TOP1_ACC, np.full((1, files, 1), right))] for right in (1, 0)))

    assert found(1)[:3] == (1.0, (-1.0, 1.0), 1.0)
    assert found(2).p_value > 0.05 and found(2).ci95 == (-1.0, 1.0)
    assert found(20).p_value < 0.05 and found(20).ci95[0] > 0
    one_file = [[Counted(ERROR_RATE, np.array([[[errors, 0, 0, 4]]]))] for errors in (1, 2)]
    assert compare(*one_file)[1:3] == ((-np.inf, np.inf), 1.0)


def test_comparing_a_model_with_itself_finds_nothing():
    same = accuracies(0.6)
    found = compare([same], [same])
    assert found.difference == 0 and found.p_value > 0.8 and found.ci95[0] <= 0 <= found.ci95[1]
    one_seed = accuracies(0.6, seeds=1)
    assert compare([one_seed], [one_seed]) == (0.0, (0.0, 0.0), 1.0, 1000)


def test_a_clear_difference_is_found_and_has_the_right_sign():
    found = compare([accuracies(0.9)], [accuracies(0.5, seed=1)])
    assert found.p_value < 0.01 and found.ci95[0] > 0.25 and found.difference == pytest.approx(0.4, abs=0.06)


def test_equal_models_are_called_different_about_one_time_in_twenty():
    values = []
    for seed in range(80):
        pair = [[accuracies(0.6, files=100, seeds=1, seed=2 * seed + i)] for i in (0, 1)]
        values.append(compare(*pair, resamples=200).p_value)
    assert sum(p < 0.05 for p in values) <= 10 and np.median(values) > 0.25


def test_a_detectable_difference_is_told_from_zero_in_four_of_five_test_sets():
    rng, files, found = np.random.default_rng(3), 400, []
    for gain in (0.0, None):  # first estimate the detectable difference, then compare models that differ by it
        gain = found[0] if gain is None else gain
        reported, sizes = [], []
        for _ in range(150 if found else 40):
            ease = rng.random(files)
            right = [
                [(ease + 0.2 * rng.normal(size=files) < level)[None, :, None].astype(int)]
                for level in (0.6, 0.6 + gain)
            ]
            one = compare(*[[Counted(TOP1_ACC, counts) for counts in pair] for pair in reversed(right)], resamples=200)
            sizes.append(one.detectable)
            reported.append(one.ci95[0] > 0)
        found.append(float(np.median(sizes)))
    assert 0.68 <= np.mean(reported) <= 0.92


def runs(rng, latent, deviation=0.1, seeds=3):
    """Models that differ by pre-training run: a file is correct if the sum of its ease, an effect of the run and noise
    is positive.
    """
    chance = 0.3 * rng.normal(size=(seeds, len(latent)))
    return [Counted(TOP1_ACC, (latent + deviation * rng.normal(size=(seeds, 1)) + chance > 0)[:, :, None])]


def test_equal_models_whose_seeds_differ_are_called_different_about_one_time_in_twenty():
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        latent = 0.85 + rng.logistic(size=400)
        found.append(compare(runs(rng, latent), runs(rng, latent), resamples=200))
    small = sum(one.p_value <= 0.05 for one in found)
    outside = sum(not one.ci95[0] <= 0 <= one.ci95[1] for one in found)
    assert 3 <= small <= 20 and abs(small - outside) <= 2


def test_p_value_and_interval_tell_the_same():
    rng = np.random.default_rng(1)
    for shift in np.linspace(-0.4, 0.4, 30):
        latent = 0.85 + rng.logistic(size=300)
        found = compare(runs(rng, latent + shift), runs(rng, latent))
        if abs(found.p_value - 0.05) > 0.004:
            assert (found.p_value < 0.05) == (not found.ci95[0] <= 0 <= found.ci95[1])


def test_a_bootstrap_of_files_has_the_p_value_of_its_normal_limit():
    counts = [np.zeros((1, 400, 1)), np.zeros((1, 400, 1))]
    counts[0][0, :60], counts[1][0, 60:100] = 1, 1  # 60 files better, 40 worse: z = 20 / sqrt(100 - 20^2 / 400)
    found = compare(*([Counted(TOP1_ACC, one)] for one in counts), resamples=8000)
    assert found.p_value == pytest.approx(0.0445, abs=0.012)


def test_drawn_seeds_spread_as_a_mean_over_them_does():
    scores = np.tile([0.1, 0.3, 0.8], (20000, 1))
    drawn = over_drawn_seeds(scores, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(0.4, abs=0.005)
    assert drawn.var() == pytest.approx(np.var([0.1, 0.3, 0.8], ddof=1) / 3, rel=0.03)


def test_seeds_of_a_k_fold_set_are_the_same_for_all_folds():
    runs_of_a_fold = np.zeros((3, 50, 1))
    runs_of_a_fold[1, :25], runs_of_a_fold[2] = 1, 1
    folds = [Counted(TOP1_ACC, runs_of_a_fold) for _ in range(10)]
    assert np.diff(confidence_interval(folds)) > 0.9


def test_an_interval_keeps_to_the_values_of_its_metric():
    counts = np.ones((2, 20, 1))
    counts[1, :2] = 0
    assert 0.96 < confidence_interval([Counted(TOP1_ACC, counts)])[1] <= 1.0
    assert 0.0 <= confidence_interval([Counted(TOP1_ACC, 1 - counts)])[0] < 0.04


def test_ranked_models_can_be_compared():
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 3)) < 0.4).astype(int)
    good = Ranked(MEAN_AP, targets + 0.4 * rng.normal(size=(2, 60, 3)), targets)
    poor = Ranked(MEAN_AP, rng.random((2, 60, 3)), targets)
    found = compare([good], [poor], resamples=100)
    assert found.difference > 0.3 and found.p_value < 0.05 and found.ci95[0] > 0
