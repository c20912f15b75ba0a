"""Clip and pitch metrics against scikit-learn and slow references."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from ssltoolkit.evaluation import metrics


def random_case(seed, ties=False, files=60, classes=5):
    rng = np.random.default_rng(seed)
    scores = rng.random((files, classes))
    targets = (rng.random((files, classes)) < 0.3).astype(np.uint8)
    targets[0], targets[1] = 1, 0
    return (np.round(scores, 1) if ties else scores), targets


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_ranking_metrics_agree_with_scikit_learn(seed, ties):
    scores, targets = random_case(seed, ties)
    assert metrics.mean_average_precision(scores, targets) == pytest.approx(
        average_precision_score(targets, scores, average="macro"), abs=1e-12
    )
    aucs = roc_auc_score(targets, scores, average=None)
    assert metrics.aucroc(scores, targets) == pytest.approx(aucs.mean(), abs=1e-12)
    assert metrics.d_prime(scores, targets) == pytest.approx((np.sqrt(2) * norm.ppf(aucs)).mean(), abs=1e-9)


def test_weights_equal_repeated_files():
    scores, targets = random_case(3, ties=True)
    weights = np.random.default_rng(0).integers(0, 4, size=len(scores))
    again = np.repeat(np.arange(len(scores)), weights)
    weighted, repeated = metrics.Ranking(scores, targets), metrics.Ranking(scores[again], targets[again])
    np.testing.assert_allclose(weighted.average_precisions(weights.astype(float)), repeated.average_precisions())
    np.testing.assert_allclose(weighted.aucs(weights.astype(float)), repeated.aucs())


def test_a_class_without_positives_is_left_out_of_the_mean():
    scores, targets = random_case(1)
    targets[:, 0] = 0
    expected = average_precision_score(targets[:, 1:], scores[:, 1:], average="macro")
    assert metrics.mean_average_precision(scores, targets) == pytest.approx(expected)


def test_d_prime_of_a_perfect_ranking_is_finite():
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    assert np.isfinite(metrics.d_prime(targets.astype(float), targets))


def test_top1_acc_counts_files():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert metrics.top1_acc(scores, np.array([0, 1, 1])) == pytest.approx(2 / 3)


def test_chroma_uses_midi_numbers_not_vocabulary_indices():
    midi = [48, 50, 60]  # class 2 is an octave above class 0; index differences say otherwise
    scores = np.eye(3)[[2, 0, 1]]
    targets = np.array([0, 2, 0])
    assert metrics.pitch_acc(scores, targets) == 0
    assert metrics.chroma_acc(scores, targets, midi) == pytest.approx(2 / 3)
