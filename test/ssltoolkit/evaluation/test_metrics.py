"""Clip and pitch metrics against scikit-learn and slow references."""

import warnings

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
    midi = [48, 50, 60]  # classes 0 and 2 are an octave apart, although their indices differ by 2
    scores = np.eye(3)[[2, 0, 1]]
    targets = np.array([0, 2, 0])
    assert metrics.pitch_acc(scores, targets) == 0
    assert metrics.chroma_acc(scores, targets, midi) == pytest.approx(2 / 3)


def kit_value(name, scores, targets):
    """The metric as hear-eval-kit 2021.1.3 computes it (score.py), with the installed scikit-learn."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if name == "top1_acc":
            return np.mean([np.argmax(t) == np.argmax(s) for s, t in zip(scores, targets)])
        if name == "mAP":
            return average_precision_score(targets, scores, average="macro")
        try:
            auc = roc_auc_score(targets, scores, average=None)
        except ValueError:
            return np.nan
        return np.mean(auc) if name == "aucroc" else np.mean(np.sqrt(2.0) * norm.ppf(auc))


def test_all_metrics_are_those_of_hear_eval_kit_on_random_cases():
    """200 cases: classes in all files or in none, one file, one class, equal scores. Notes report values of the kit
    that are not finite.
    """
    rng, finite = np.random.default_rng(0), dict.fromkeys(("top1_acc", "mAP", "aucroc", "d_prime"), 0)
    for case in range(200):
        files, classes = (1 if case % 20 == 0 else rng.integers(2, 40)), (1 if case % 20 == 1 else rng.integers(2, 8))
        scores, targets = rng.random((files, classes)), (rng.random((files, classes)) < 0.4).astype(int)
        if case % 4 == 0:
            scores = np.round(scores, 1)
        if case % 5 == 0:
            targets[:, 0] = 1
        if case % 7 == 0:
            targets[:, -1] = 0
        ranking = metrics.Ranking(scores, targets, hear_rules=True)
        ours = {
            "top1_acc": metrics.top1_acc(scores, targets),
            **{name: metrics.RANKED[name](ranking) for name in metrics.RANKED},
        }
        notes = " ".join(metrics.ranking_notes(scores[None], targets, [f"c{c}" for c in range(classes)], True))
        for name, value in ours.items():
            theirs = kit_value(name, scores, targets)
            assert np.isfinite(value)
            if np.isfinite(theirs):
                assert value == pytest.approx(theirs, abs=1e-9), (case, name)
                finite[name] += 1
            else:
                assert "(NaN in hear-eval-kit)" in notes or "(infinite in hear-eval-kit)" in notes, (case, name)
    assert finite["top1_acc"] == finite["mAP"] == 200 and min(finite.values()) > 100


def test_a_class_that_every_file_has_counts_in_either_mode_and_one_without_positives_in_the_kits():
    scores = np.random.default_rng(0).random((8, 3))
    targets = np.ones((8, 3), int)
    targets[::2, 1], targets[:, 2] = 0, 0
    every, some = 1.0, average_precision_score(targets[:, 1], scores[:, 1])
    assert metrics.mean_average_precision(scores, targets) == pytest.approx((every + some) / 2)
    assert metrics.RANKED["mAP"](metrics.Ranking(scores, targets, hear_rules=True)) == pytest.approx((every + some) / 3)
    notes = metrics.ranking_notes(scores[None], targets, ["a", "b", "c"], False)
    assert notes[0].startswith("1 class(es) without a positive test file (c) left out of mAP, are left out of aucroc")
    assert notes[1].startswith("1 class(es) that every test file has (a) have an average precision of 1")
