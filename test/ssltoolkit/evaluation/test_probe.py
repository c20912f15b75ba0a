"""Probe training: model selection, determinism, modes and memory maps."""

import random

import numpy as np
import pytest
import torch

from ssltoolkit.errors import UserError
from ssltoolkit.evaluation import probe
from ssltoolkit.evaluation import probe_config as probe_config_module
from ssltoolkit.evaluation.features import Features
from ssltoolkit.evaluation.neighbours import fit_neighbours
from ssltoolkit.evaluation.probe import fit_probes
from ssltoolkit.evaluation.probe_config import GridPoint, choose_batch, for_task, full_grid, probe_config, products


def rings(count=240, seed=0):
    """Two classes that are not linearly separable, far from zero and badly scaled."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = 1.0 + 2.0 * targets + 0.1 * rng.normal(size=count)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return (100.0 + x * [1.0, 30.0]).astype(np.float32), targets


def setting(train_rows=160):
    x, targets = rings()
    parts = [(x, np.arange(train_rows))], [(x, np.arange(train_rows, len(x)))]
    valid_targets = targets[train_rows:]
    return *map(Features, parts), targets[:train_rows], lambda p: (p.argmax(2) == valid_targets).mean(1)


def fit(config, seeds=(0,), **options):
    train, valid, targets, scorer = setting()
    return fit_probes(train, targets, valid, scorer, 2, seeds, config, **options)


def test_the_standard_probe_solves_what_a_linear_one_cannot():
    assert fit(probe_config(quick=True))[0].valid_score > 0.95
    assert fit(probe_config("linear", quick=True))[0].valid_score < 0.8


def test_training_is_deterministic_and_seeds_do_not_see_each_other():
    config = probe_config(quick=True, max_epochs=9)
    both, again, alone = fit(config, (0, 3)), fit(config, (0, 3)), fit(config, (3,))
    for name, tensor in both[1].state.items():
        assert torch.equal(tensor, again[1].state[name])
        torch.testing.assert_close(tensor, alone[0].state[name], atol=1e-4, rtol=1e-3)
    assert not torch.equal(both[0].state["bias"], both[1].state["bias"])


def test_the_number_of_threads_does_not_change_the_choice():
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            found.append(fit(probe_config(quick=True, max_epochs=9), (0, 1)))
        finally:
            torch.set_num_threads(before)
    assert [p.summary() for p in found[0]] == [p.summary() for p in found[1]]


def test_prediction_standardises_by_the_training_rows():
    train, valid, targets, scorer = setting()
    fitted = fit_probes(train, targets, valid, scorer, 2, [0], probe_config(quick=True))[0]
    x, all_targets = rings()
    fresh = Features([(x, np.arange(160, len(x)))])
    probabilities = fitted.predict(fresh)
    assert probabilities.shape == (80, 2) and probabilities.dtype == np.float32
    assert (probabilities.argmax(1) == all_targets[160:]).mean() == pytest.approx(fitted.valid_score)


def test_hear_mode_trains_without_our_changes():
    config = probe_config("hear")
    assert len(config.grid) == 8 and len(full_grid()) == 16
    assert (config.hidden_dim, config.max_epochs, config.check_every, config.patience) == (1024, 500, 3, 20)
    assert (config.batch_size, config.precision, config.halving_rounds) == (1024, "float32", ())
    small = probe_config("hear", max_epochs=3, hidden_dim=8)
    fitted = fit(small)[0]
    assert (fitted.mean == 0).all() and (fitted.scale == 1).all()


def test_hear_mode_tries_the_points_hear_eval_kit_tries():
    # The parameter grid of hear-eval-kit 2021.1.3 in the order of scikit-learn's ParameterGrid, shuffled after
    # random.seed(42), computed without our code.
    kit = [
        (1, 1e-4, "normal"), (2, 1e-3, "uniform"), (1, 1e-3, "normal"), (1, 3.2e-4, "normal"),
        (2, 3.2e-4, "normal"), (2, 3.2e-4, "uniform"), (2, 3.2e-3, "normal"), (2, 3.2e-3, "uniform"),
    ]  # fmt: skip
    assert [(p.hidden_layers, p.lr, p.init) for p in probe_config("hear").grid] == kit


def test_the_order_of_the_grid_is_that_of_scikit_learn():
    selection = pytest.importorskip("sklearn.model_selection", reason="the order is that of scikit-learn's grid")
    names = {"hidden_layers": [1, 2], "lr": [3.2e-3, 1e-3, 3.2e-4, 1e-4], "initialization": ["uniform", "normal"]}
    single = {
        "hidden_dim": [1024],
        "dropout": [0.1],
        "max_epochs": [500],
        "norm_after_activation": [False],
        "optim": [0],
    }
    confs = list(selection.ParameterGrid({**names, **single}))
    assert [(p.hidden_layers, p.lr, p.init) for p in full_grid()] == [
        (c["hidden_layers"], c["lr"], c["initialization"]) for c in confs
    ]


@pytest.mark.parametrize(
    "mode, name, every", [("hear", "dcase2016_task2", 10), ("hear", "dcase2016", 3), ("standard", "dcase2016_task2", 3)]
)
def test_hear_mode_validates_dcase2016_task2_every_ten_epochs(mode, name, every):
    config, reported = for_task(probe_config(mode), name, {}, "task")
    assert config.check_every == every and reported == ({"check_val_every_n_epoch": [10]} if every == 10 else {})
    assert config == probe_config(mode, check_every=every)


def test_a_task_has_a_grid_of_its_own():
    selection = pytest.importorskip("sklearn.model_selection", reason="the order is that of scikit-learn's grid")
    own = {"hidden_layers": [0, 1, 2], "lr": [1e-2, 1e-3], "dropout": [0.5], "check_val_every_n_epoch": [1]}
    config, reported = for_task(probe_config("hear"), "dcase2016_task2", own, "task")
    confs = list(selection.ParameterGrid({**own, "initialization": ["uniform", "normal"], "patience": [20]}))
    random.Random(42).shuffle(confs)
    assert [(p.hidden_layers, p.lr, p.init) for p in config.grid] == [
        (c["hidden_layers"], c["lr"], c["initialization"]) for c in confs[:8]
    ]
    assert (config.dropout, config.check_every, config.patience) == (0.5, 1, 20) and reported == own


@pytest.mark.parametrize(
    "own, message",
    [
        ({"optim": ["adam"]}, "does not support 'optim'; supported: hidden_layers, lr, check_val"),
        ({"patience": [5, 20]}, "patience has 2 values"),
        ({"patience": 20}, "patience must be a list of whole numbers of at least 1, got 20"),
        ({"lr": []}, r"lr must be a list of numbers of at least 0, got \[\]"),
        ({"dropout": [1.0]}, "dropout must be a list of numbers of at least 0 and below 1"),
    ],
)
def test_what_cannot_be_followed_is_named(own, message):
    with pytest.raises(UserError, match="meta: .*" + message):
        for_task(probe_config("hear"), "t", own, "meta")
    assert for_task(probe_config(), "t", own, "meta") == (probe_config(), {})


@pytest.mark.parametrize("independent", [False, True])
def test_the_validation_loss_chooses_where_a_task_asks_for_it(independent):
    train, valid, targets, _ = setting()
    valid_targets = rings()[1][160:]
    if independent:
        targets, valid_targets = np.eye(2, dtype=np.uint8)[targets], np.eye(2, dtype=np.uint8)[valid_targets]
    grid = tuple(GridPoint(1, lr, "uniform") for lr in (1e-4, 1e-2))
    config = probe_config("hear", grid=grid, max_epochs=30, hidden_dim=16, choose_by="loss")
    fitted = fit_probes(train, targets, valid, None, 2, [0], config, valid_targets=valid_targets)[0]
    p = fitted.predict(valid)
    if independent:
        loss = -np.log(np.where(valid_targets, p, 1 - p)).mean()
    else:
        loss = -np.log(p[np.arange(len(p)), valid_targets]).mean()
    assert fitted.valid_score == pytest.approx(-loss, rel=1e-5)


@pytest.mark.parametrize("mode, epochs, validations", [("hear", 4, 1), ("hear", 2, 1), ("standard", 4, 2)])
def test_the_last_epoch_is_validated_except_by_the_kit(mode, epochs, validations):
    calls = []

    def scorer(p):
        calls.append(len(p))
        return np.zeros(len(p))

    train, valid, targets, _ = setting()
    config = probe_config(mode, max_epochs=epochs, hidden_dim=8, grid=(GridPoint(1, 1e-3, "uniform"),))
    fit_probes(train, targets, valid, scorer, 2, [0], config)
    assert len(calls) == validations


def test_hear_mode_takes_rows_in_order_and_keeps_the_short_last_batch():
    train, valid, targets, scorer = setting()
    config = probe_config("hear", batch_size=64, hidden_dim=8)
    training = probe._Training(
        [(0, config.grid[0])], 2, "ce", train, torch.as_tensor(targets), valid, scorer, config
    )  # fmt: skip
    assert [b.shape[1] for b in training._batches()] == [64, 64, 32]
    assert np.concatenate([b[0] for b in training._batches()]).tolist() == list(range(160))


@pytest.mark.parametrize("mode, ended", [("hear", 3), ("standard", 9)])
def test_an_undefined_score_ends_a_grid_point_in_hear_mode_only(mode, ended):
    calls = []

    def scorer(p):
        calls.append(len(p))
        return np.full(len(p), np.nan)

    train, valid, targets, _ = setting()
    config = probe_config(mode, max_epochs=9, hidden_dim=8, grid=(GridPoint(1, 1e-3, "uniform"),), halving_rounds=())
    fitted = fit_probes(train, targets, valid, scorer, 2, [0], config)[0]
    assert len(calls) * 3 == ended and fitted.summary()["valid_score"] is None


@pytest.mark.parametrize("mode", ["standard", "hear"])
def test_the_first_point_of_the_grid_wins_among_equals(mode):
    train, valid, targets, _ = setting()
    config = probe_config(mode, max_epochs=3, hidden_dim=8)
    fitted = fit_probes(train, targets, valid, lambda p: np.full(len(p), 0.5), 2, [0, 1], config)
    assert [f.point for f in fitted] == [config.grid[0]] * 2


def test_early_stopping_keeps_the_best_epoch():
    scores = iter([0.5, 0.9, 0.1, 0.2, 0.3, 0.4, 0.8])
    train, valid, targets, _ = setting()
    config = probe_config(max_epochs=500, hidden_dim=8, patience=3, patience_steps=0, check_steps=0, halving_rounds=())
    config = probe_config(**{**config.__dict__, "grid": (GridPoint(1, 1e-3, "uniform"),)})
    fitted = fit_probes(train, targets, valid, lambda p: np.array([next(scores)]), 2, [0], config)[0]
    assert (fitted.epoch, fitted.valid_score) == (6, 0.9)


def test_the_worse_learning_rates_are_given_up():
    models = []

    def scorer(p):
        models.append(len(p))
        return np.arange(len(p), dtype=float)

    train, valid, targets, _ = setting()
    grid = tuple(GridPoint(1, lr, "uniform") for lr in (3.2e-3, 1e-3, 3.2e-4, 1e-4))
    config = probe_config(max_epochs=30, hidden_dim=8, grid=grid, halving_rounds=(30, 60))
    fit_probes(train, targets, valid, scorer, 2, [0], config)
    assert models[0] == 4 and models[-1] == 1 and set(models) == {4, 2, 1}


@pytest.mark.parametrize("rows, size", [(100, 32), (600, 64), (5000, 512), (15000, 1024), (50000, 1024)])
def test_batch_size_gives_at_least_eight_steps(rows, size):
    assert choose_batch(rows) == size


@pytest.mark.parametrize(
    "precision, tiles, rows, found",
    [
        ("float32", True, 4096, (torch.float32, "highest")),
        ("bfloat16", False, 64, (torch.float32, "medium")),
        ("bfloat16", False, 512, (torch.bfloat16, "highest")),
        ("auto", True, 8, (torch.float32, "highest")),
        ("auto", True, 64, (torch.float32, "medium")),
        ("auto", True, 1024, (torch.bfloat16, "highest")),
        ("auto", False, 1024, (torch.float32, "highest")),
    ],
)
def test_products_are_rounded_where_it_pays(monkeypatch, precision, tiles, rows, found):
    monkeypatch.setattr(probe_config_module, "has_tiles", lambda: tiles)
    assert products(probe_config(precision=precision), rows) == found


def test_the_precision_of_products_is_given_back():
    before = torch.get_float32_matmul_precision()
    config = probe_config(quick=True, max_epochs=3, precision="bfloat16")
    seen = []

    def scorer(p):
        seen.append(torch.get_float32_matmul_precision())
        raise FloatingPointError

    train, valid, targets, _ = setting()
    with pytest.raises(FloatingPointError):
        fit_probes(train, targets, valid, scorer, 2, [0], config)
    assert seen[0] == "medium" and torch.get_float32_matmul_precision() == before


def test_memory_maps_give_the_same_batches_as_memory(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    parts = [(mapped, np.array([4, 9, 2])), (mapped, np.arange(20, 40))]
    small, large = Features(parts, memory_bytes=0), Features(parts)
    np.testing.assert_allclose(small.statistics()[0], x[[4, 9, 2, *range(20, 40)]].mean(0), atol=1e-6)
    for features in (small, large):
        features.standardise(*small.statistics())
    positions = np.array([22, 0, 5, 5])
    torch.testing.assert_close(small.take(positions), large.take(positions))
    torch.testing.assert_close(torch.cat(list(small.chunks(7))), torch.cat(list(large.chunks(7))))


def test_constant_columns_become_zero():
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    x[:, 1] = 7.0
    features = Features([(x, np.arange(20))])
    features.standardise(*features.statistics())
    assert (features.take(np.arange(20))[:, 1] == 0).all()


def test_neighbours_choose_their_number_on_valid():
    train, valid, targets, scorer = setting()
    fitted = fit_neighbours(train, targets, valid, scorer, 2, [0, 1])
    assert len(fitted) == 2 and fitted[0].valid_score == pytest.approx(scorer(fitted[0].predict(valid)[None])[0])
    np.testing.assert_allclose(fitted[0].predict(valid).sum(axis=1), 1.0, rtol=1e-5)


def test_the_memory_of_hear_mode_is_bounded():
    """Five seeds of the kit's eight grid points are trained in parts whose size does not grow with the seeds."""
    config = probe_config("hear")
    wanted = [(seed, point) for seed in range(5) for point in config.grid]
    parts = probe._parts(wanted, (1024, config.hidden_dim, 20), 5000, config, 2)
    assert sum(map(len, parts)) == 40
    for part in parts:
        widths = [1024, *[1024] * part[0][1].hidden_layers, 20]
        weights = sum(a * b for a, b in zip(widths[:-1], widths[1:]))
        size = 4 * (5 * weights + 1024 * (2 * sum(widths[1:]) + 3 * max(widths)))
        assert (
            len(part) == 1
            or 2 * len(part) * size <= probe.KIT_TRAINING_BYTES
            or len({probe._successive_halving(pair) for pair in part}) == 1
        )
