"""Speed of the probe's whole grid with all seeds at once, against one network after another; ``--large`` times the grid
on many rows.

The reference trains each grid point of each seed separately with torch's layers and optimiser in float32: same grid,
initial distributions, batch sizes, dropout, validation schedule, patience and selection by validation accuracy, on the
same standardised rows. It never drops a learning rate; ``--no_racing`` also turns this off in ours, to measure the gain
from batched training alone."""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import partial
from typing import Dict, List, Tuple

import numpy as np
import torch
from common import Values, parse, parser, seconds, write_row
from torch import Tensor, nn

from ssltoolkit.evaluation.features import Features
from ssltoolkit.evaluation.probe import fit_probes
from ssltoolkit.evaluation.probe_config import GridPoint, ProbeConfig, choose_batch, probe_config

Set = Tuple[np.ndarray, np.ndarray]


def embeddings(rows: int, dim: int, classes: int, seed: int) -> Set:
    """Embeddings of overlapping classes: each has a centre in a tenth of the dimensions, mixed by a fixed matrix."""
    shared = np.random.default_rng(0)
    inner = max(2, dim // 10)
    centres, mixing = shared.standard_normal((classes, inner)), shared.standard_normal((inner, dim))
    rng = np.random.default_rng([1, seed])
    labels = rng.integers(0, classes, rows)
    hidden = 0.35 * centres[labels] + 0.65 * rng.standard_normal((rows, inner))
    x = np.tanh(hidden @ mixing / inner**0.5) + 0.3 * rng.standard_normal((rows, dim))
    return x.astype(np.float32), labels


def features(x: np.ndarray) -> Features:
    """All rows."""
    return Features([(x, np.arange(len(x)))])


def network(dim: int, classes: int, point: GridPoint, config: ProbeConfig) -> nn.Sequential:
    """One MLP of the grid, initialised as in HEAR, including the last layer."""
    layers: List[nn.Module] = []
    init = nn.init.xavier_uniform_ if point.init == "uniform" else nn.init.xavier_normal_
    for number in range(point.hidden_layers):
        linear = nn.Linear(dim if number == 0 else config.hidden_dim, config.hidden_dim, bias=False)
        init(linear.weight, gain=1.0 if number == 0 else 2.0**0.5)
        layers += [linear, nn.BatchNorm1d(config.hidden_dim), nn.Dropout(config.dropout), nn.ReLU()]
    last = nn.Linear(config.hidden_dim, classes)
    init(last.weight, gain=2.0**0.5)
    return nn.Sequential(*layers, last)


def plain_fit(train: Set, valid: Set, classes: int, seed: int, config: ProbeConfig) -> nn.Module:
    """Train the networks of the grid one after another and return the best by validation accuracy; inputs are
    standardised.
    """
    x, y = torch.from_numpy(train[0]), torch.from_numpy(train[1])
    best, chosen = -1.0, None
    for number, point in enumerate(config.grid):
        torch.manual_seed(1000 * seed + number)
        model = network(x.shape[1], classes, point, config)
        score, state = _train(model, x, y, valid, point.lr, config)
        if score > best:
            best, chosen = score, model
            chosen.load_state_dict(state)
    return chosen.eval()


def _train(
    model: nn.Module, x: Tensor, y: Tensor, valid: Set, lr: float, config: ProbeConfig
) -> Tuple[float, Dict[str, Tensor]]:
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    steps = max(1, round(len(x) / choose_batch(len(x))))
    last, every, patience = config.schedule(steps)
    best, state, waited = -1.0, {}, 0
    for epoch in range(1, last + 1):
        model.train()
        for rows in torch.randperm(len(x)).split(len(x) // steps)[:steps]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        if epoch % every == 0 or epoch == last:
            score = accuracy(model, valid)
            waited = 0 if score > best else waited + 1
            if score > best:
                best, state = score, {key: value.clone() for key, value in model.state_dict().items()}
            if waited >= patience:
                break
    return best, state


@torch.no_grad()
def accuracy(model: nn.Module, rows: Set) -> float:
    """Share of rows whose most probable class is right."""
    return float((model.eval()(torch.from_numpy(rows[0])).argmax(1).numpy() == rows[1]).mean())


def standardised(train: Set, *others: Set) -> List[Set]:
    """Standardise all sets with the training rows' statistics."""
    mean, deviation = train[0].mean(0), train[0].std(0)
    return [((x - mean) / deviation, y) for x, y in (train, *others)]


def our_scores(train: Set, valid: Set, test: Set, classes: int, seeds: List[int], config: ProbeConfig) -> List[float]:
    """Test accuracy of each seed's probe."""

    def scorer(probabilities: np.ndarray) -> np.ndarray:
        return (probabilities.argmax(2) == valid[1]).mean(1)

    probes = fit_probes(features(train[0]), train[1], features(valid[0]), scorer, classes, seeds, config)
    return [float((probe.predict(features(test[0])).argmax(1) == test[1]).mean()) for probe in probes]


def plain_scores(train: Set, valid: Set, test: Set, classes: int, seeds: List[int], config: ProbeConfig) -> List[float]:
    """Test accuracy of each seed of the reference."""
    train, valid, test = standardised(train, valid, test)
    return [accuracy(plain_fit(train, valid, classes, seed, config), test) for seed in seeds]


def main() -> None:
    """Run the comparison, or time a large grid."""
    options = parser(__doc__, rows=(2000, 600), dim=(512, 128), classes=(20, 10), seeds=(3, 3), epochs=(500, 30))
    options.add_argument("--no_racing", action="store_true", help="do not drop learning rates")
    options.add_argument(
        "--large", action="store_true", help="time the full grid on 50,000 x 512 (with --quick 5,000 x 128)"
    )
    args = parse(options)
    config = probe_config("standard", quick=args.quick, max_epochs=args.epochs)
    if args.no_racing:
        config = replace(config, halving_rounds=())
    if args.large:
        args.rows, args.dim = (5000, 128) if args.quick else (50000, 512)
    sets = [
        embeddings(rows, args.dim, args.classes, seed)
        for seed, rows in enumerate((args.rows, args.rows // 4, args.rows // 4))
    ]
    shape = (
        f"{args.rows} x {args.dim}, {args.classes} classes, {len(config.grid)} grid points of {config.hidden_dim} units"
    )
    if args.large:
        times = {"ours": [seconds(lambda: our_scores(*sets, args.classes, [0], config)) for _ in range(args.repeats)]}
        write_row(args, f"probe, {shape}, one seed", times)
        return
    scores: Dict[str, List[float]] = {"ours": [], "reference": []}
    times: Values = {"ours": [], "reference": []}
    for repeat in range(args.repeats):
        seeds = list(range(repeat * args.seeds, (repeat + 1) * args.seeds))
        for name, fit in (("ours", our_scores), ("reference", plain_scores)):
            run = partial(fit, *sets, args.classes, seeds, config)
            times[name].append(seconds(lambda run=run, found=scores[name]: found.extend(run())))
    said = ", ".join(
        f"{name} {statistics.mean(found):.3f} (deviation {statistics.pstdev(found):.3f})"
        for name, found in scores.items()
    )
    racing = "no racing" if args.no_racing else "ours racing learning rates"
    title = f"probe grid, {shape}, {args.seeds} seeds, batched against one after another, {racing}"
    write_row(args, title, times, f"test accuracy: {said}")


if __name__ == "__main__":
    main()
