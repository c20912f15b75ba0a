"""Probes on frozen embeddings: the HEAR grid of small perceptrons, trained as one batch of models; linear and kNN.

The grid is {1, 2} hidden layers x 4 learning rates x 2 initialisations; the grid point, and the epoch of each, are
chosen by the task's first metric on the validation rows.

Two modes train the same models:

``standard``
    All grid points of all seeds at once. Embeddings are standardised by the training rows' statistics and batches are
    shuffled each epoch. HEAR's batch of 1,024 gives a set of 600 clips one step an epoch; here the batch is the power of
    two (32 to 1,024) that gives at least 8 steps, so large sets use 1,024 and small ones still train. Learning rates
    race: of those with the same seed, layers and initialisation the better half goes on after 200 steps and half of
    these after 400. On large sets validations are more frequent and patience ends after 1,000 steps.
``hear``
    As hear-eval-kit does: the first 8 points of the grid shuffled with seed 42, embeddings as they are, batches of 1,024
    in a fixed order, and a validation F that is undefined (nothing predicted) ends a grid point.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch

from ssltoolkit.errors import check_choice
from ssltoolkit.evaluation.batched_mlp import BatchedMLP, ModelSpec, forward
from ssltoolkit.evaluation.features import Features

MODES = ("standard", "hear", "linear", "knn")
LEARNING_RATES = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
INITS = ("uniform", "normal")
HEAR_GRID_SEED, HEAR_GRID_POINTS = 42, 8
MIN_BATCH, MIN_STEPS = 32, 8
#: memory for weights, optimiser state and activations of the models trained together
TRAINING_BYTES = 3 << 29

#: scores (M,) of probabilities (M, N, C), higher is better; NaN where undefined
Scorer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class GridPoint:
    """One probe configuration."""

    hidden_layers: int
    lr: float
    init: str


#: seed and grid point of a model
Wanted = Tuple[int, GridPoint]


@dataclass(frozen=True)
class ProbeConfig:
    """How probes are trained.

    Attributes:
        mode: one of ``standard``, ``hear``, ``linear``.
        grid: the points tried.
        max_epochs, max_steps: end of training; 0 steps for no limit.
        check_every, check_steps: epochs and steps between validations, whichever is shorter; 0 steps for epochs only.
        patience, patience_steps: validations and steps without a better score, whichever is shorter; 0 as above.
        rungs: steps after which the worse half of the learning rates is given up.
        batch_size: rows a step; 0 chooses it by the number of rows.
        precision: ``float32``, ``bfloat16`` (matrix products only) or ``auto``: bfloat16 for large products on a CPU with
            tile units, where it is several times faster.
    """

    mode: str = "standard"
    grid: Tuple[GridPoint, ...] = field(default_factory=lambda: tuple(full_grid()))
    hidden_dim: int = 1024
    dropout: float = 0.1
    max_epochs: int = 500
    max_steps: int = 0
    check_every: int = 3
    check_steps: int = 100
    patience: int = 20
    patience_steps: int = 1000
    rungs: Tuple[int, ...] = (200, 400)
    batch_size: int = 0
    precision: str = "auto"
    device: str = "cpu"

    def schedule(self, steps: int) -> Tuple[int, int, int]:
        """Last epoch, epochs between validations and patience in validations, for so many steps an epoch."""
        last, every, patience = self.max_epochs, self.check_every, self.patience
        if self.max_steps:
            last = min(last, math.ceil(self.max_steps / steps))
        if self.check_steps:
            every = max(1, min(every, self.check_steps // steps))
        if self.patience_steps:
            patience = max(1, min(patience, self.patience_steps // (every * steps)))
        return last, every, patience

    @property
    def kit_rules(self) -> bool:
        """Whether rows are taken as hear-eval-kit takes them."""
        return self.mode == "hear"


def full_grid(layers: Sequence[int] = (1, 2)) -> List[GridPoint]:
    """The grid in the order of its sorted parameter names (hidden_layers, initialization, lr)."""
    return [GridPoint(n, lr, init) for n, init, lr in itertools.product(layers, INITS, LEARNING_RATES)]


def probe_config(mode: str = "standard", quick: bool = False, **changes: object) -> ProbeConfig:
    """The configuration of a mode.

    Args:
        mode: ``standard``, ``hear`` or ``linear``.
        quick: 4 grid points, 256 hidden units, at most 60 epochs or 500 steps: for tests and small recipes; not with ``hear``.
        changes: fields of :class:`ProbeConfig` that differ.
    """
    check_choice("mode", mode, MODES)
    config = ProbeConfig(mode=mode)
    if mode == "hear":
        grid = full_grid()
        random.Random(HEAR_GRID_SEED).shuffle(grid)
        config = replace(config, grid=tuple(grid[:HEAR_GRID_POINTS]), batch_size=1024, precision="float32")
        config = replace(config, check_steps=0, patience_steps=0, rungs=())
    elif mode == "linear":
        config = replace(config, grid=tuple(p for p in full_grid((0,)) if p.init == "uniform"))
    if quick and mode != "hear":
        layers = (0,) if mode == "linear" else (1, 2)
        grid = tuple(GridPoint(n, lr, "uniform") for n in layers for lr in (3.2e-3, 1e-3))
        config = replace(config, grid=grid, hidden_dim=256, max_epochs=60, max_steps=500, patience=6)
    return replace(config, **changes)  # type: ignore[arg-type]


@dataclass
class FittedProbe:
    """The chosen probe of one seed.

    Attributes:
        seed, point: where it comes from. valid_score: its score on the validation rows. epoch: epoch of its weights.
    """

    seed: int
    point: GridPoint
    valid_score: float
    epoch: int
    state: Dict[str, torch.Tensor]
    loss: str
    mean: np.ndarray
    scale: np.ndarray

    def predict(self, features: Features) -> np.ndarray:
        """Class probabilities (n, C) float32 of every row."""
        features.transform(self.mean, self.scale)
        parts = [forward(self.state, x, self.point.hidden_layers, self.loss)[0] for x in features.chunks()]
        return torch.cat(parts).cpu().numpy()

    def summary(self) -> Dict[str, object]:
        """What a result file records."""
        return {
            "seed": self.seed,
            "hidden_layers": self.point.hidden_layers,
            "lr": self.point.lr,
            "init": self.point.init,
            "epoch": self.epoch,
            "valid_score": self.valid_score if np.isfinite(self.valid_score) else None,
        }


def choose_batch(rows: int) -> int:
    """Largest power of two up to 1,024 (at least 32) that gives 8 or more steps an epoch."""
    size = 1024
    while size > MIN_BATCH and rows < MIN_STEPS * size:
        size //= 2
    return size


def has_tiles() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in tile units."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return any(line.startswith("flags") and " amx_bf16" in line for line in lines)
    except OSError:
        return False


def _matmul_dtype(config: ProbeConfig, rows: int) -> torch.dtype:
    check_choice("precision", config.precision, ("auto", "float32", "bfloat16"))
    if config.precision == "auto":
        low = config.device == "cpu" and rows * config.hidden_dim >= 1 << 16 and has_tiles()
        return torch.bfloat16 if low else torch.float32
    return getattr(torch, config.precision)


def fit_probes(
    train: Features,
    targets: np.ndarray,
    valid: Features,
    scorer: Scorer,
    num_classes: int,
    seeds: Sequence[int],
    config: ProbeConfig,
    points: Optional[Dict[int, GridPoint]] = None,
) -> List[FittedProbe]:
    """Train the grid for every seed and choose on the validation rows.

    Args:
        targets: (N,) int64 class indices, or (N, C) 0/1 for independent classes.
        scorer: score of each model's validation probabilities.
        points: seed -> the only grid point to train (k-fold sets choose it on their first split).

    Returns:
        One probe a seed, in the order of ``seeds``. A seed's probe does not depend on the other seeds.
    """
    if not config.kit_rules:
        mean, deviation = train.statistics()
        train.standardise(mean, deviation)
        valid.standardise(mean, deviation)
    loss = "ce" if targets.ndim == 1 else "bce"
    rows = torch.as_tensor(targets, dtype=torch.int64 if loss == "ce" else torch.uint8)
    wanted = [(s, p) for s in seeds for p in config.grid if not points or points[s] == p]
    threads = torch.get_num_threads() if config.device == "cpu" else 1
    parts = _parts(wanted, (train.dim, config.hidden_dim, num_classes), len(train), config, threads)

    def run(part: List[Wanted]) -> List[FittedProbe]:
        return _Training(part, num_classes, loss, train, rows, valid, scorer, config).run()

    with one_thread_each(threads) as pool:
        probes = [probe for found in pool.map(run, parts) for probe in found]
    best: Dict[int, FittedProbe] = {}
    for probe in sorted(probes, key=lambda one: config.grid.index(one.point)):
        held = best.get(probe.seed)
        if held is None or probe.valid_score > held.valid_score:
            best[probe.seed] = probe
    return [best[seed] for seed in seeds]


@contextlib.contextmanager
def one_thread_each(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose workers compute with one thread each.

    Independent models on single threads need no barrier inside every operation; on a machine that is shared, those
    barriers made training twenty times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _parts(
    wanted: List[Wanted], sizes: Tuple[int, int, int], rows: int, config: ProbeConfig, threads: int
) -> List[List[Wanted]]:
    """Batches of models of the same depth: one a thread, more where they would not fit into ``TRAINING_BYTES``.

    Models that race each other stay together, so that the outcome does not depend on the number of threads. The deepest
    come first: the last to finish are short.
    """
    dim, hidden, classes = sizes
    batch = min(rows, config.batch_size or choose_batch(rows))
    races = [list(same) for _, same in itertools.groupby(sorted(wanted, key=_race), key=_race)]
    parts: List[List[Wanted]] = []
    for layers in sorted({point.hidden_layers for _, point in wanted}, reverse=True):
        units = [race for race in races if race[0][1].hidden_layers == layers]
        widths = [dim, *[hidden] * layers, classes]
        weights = sum(a * b for a, b in zip(widths[:-1], widths[1:]))
        # Weights, two moments, gradient and best copy; two activations a layer, three shared, in float32.
        one = 4 * (5 * weights + batch * (2 * sum(widths[1:]) + 3 * max(widths)))
        fitting = max(1, TRAINING_BYTES // (threads * one * max(map(len, units))))
        count = max(math.ceil(len(units) / fitting), min(threads, len(units)))
        bounds = np.linspace(0, len(units), count + 1).round().astype(int)
        parts += [sum(units[low:high], []) for low, high in zip(bounds[:-1], bounds[1:]) if low < high]
    return parts


def _race(model: Wanted) -> Tuple[int, int, str]:
    """Models with the same value differ in their learning rate only."""
    return model[0], model[1].hidden_layers, model[1].init


class _Training:
    """Training of models with the same layers, with early stopping for each."""

    def __init__(
        self,
        wanted: List[Wanted],
        num_classes: int,
        loss: str,
        train: Features,
        targets: torch.Tensor,
        valid: Features,
        scorer: Scorer,
        config: ProbeConfig,
    ) -> None:
        self.config, self.train, self.targets, self.valid, self.scorer = config, train, targets, valid, scorer
        self.seeds = sorted({seed for seed, _ in wanted})
        self.wanted = sorted(wanted, key=lambda pair: (pair[1].lr, self.seeds.index(pair[0])))
        layers = self.wanted[0][1].hidden_layers
        sizes = [train.dim, *[config.hidden_dim] * layers, num_classes]
        self.batch = min(len(train), config.batch_size or choose_batch(len(train)))
        dtype = _matmul_dtype(config, self.batch)
        specs = [ModelSpec(p.lr, p.init, _stream(s, config.grid.index(p))) for s, p in self.wanted]
        groups = [self.seeds.index(seed) for seed, _ in self.wanted]
        self.models = BatchedMLP(sizes, specs, groups, loss, config.dropout, config.device, dtype)
        self.orders = [np.random.default_rng([seed, 1, layers]) for seed in self.seeds]
        self.masks = [np.random.default_rng([seed, 2, layers]) for seed in self.seeds]
        self.steps = max(1, round(len(train) / self.batch))
        self.last, self.every, self.patience = config.schedule(self.steps)
        self.rungs = list(config.rungs)
        self.alive = list(range(len(self.wanted)))
        self.score = np.full(len(self.wanted), -np.inf)
        self.epoch = np.zeros(len(self.wanted), dtype=int)
        self.waited = np.zeros(len(self.wanted), dtype=int)
        self.best: Dict[int, Dict[str, torch.Tensor]] = {}

    def run(self) -> List[FittedProbe]:
        """Train until every model has stopped; the best of every seed, earlier grid points first among equals."""
        for epoch in range(1, self.last + 1):
            for positions in self._batches():
                self.models.step(*self._rows(positions), self._dropout(positions.shape[1]))
            if epoch % self.every == 0 or epoch == self.last:
                self._validate(epoch)
                if not self.alive:
                    break
        probes = []
        for seed in self.seeds:
            own = [i for i, (s, _) in enumerate(self.wanted) if s == seed]
            i = max(own, key=lambda m: self.score[m])
            point, loss = self.wanted[i][1], self.models.loss
            mean, scale = self.train.mean, self.train.scale
            probes.append(
                FittedProbe(seed, point, float(self.score[i]), int(self.epoch[i]), self.best[i], loss, mean, scale)
            )
        return probes

    def _batches(self):
        """Row positions (S, B) of every step of an epoch.

        Shuffled batches all have the same size; the few rows left over are other ones each epoch.
        """
        rows, steps = len(self.train), self.steps
        if self.config.kit_rules:
            for start in range(0, rows, self.batch):
                positions = np.arange(start, min(start + self.batch, rows))
                if len(positions) > 1 or rows == 1:
                    yield np.tile(positions, (len(self.seeds), 1))
            return
        size = rows // steps
        orders = np.stack([order.permutation(rows) for order in self.orders])
        for step in range(steps):
            yield orders[:, step * size : (step + 1) * size]

    def _rows(self, positions: np.ndarray) -> Tuple[torch.Tensor, torch.Tensor]:
        x = self.train.take(positions.reshape(-1)).view(*positions.shape, -1)
        targets = self.targets[torch.from_numpy(positions)]
        return x, targets if self.models.loss == "ce" else targets.float()

    def _dropout(self, rows: int) -> List[torch.Tensor]:
        """One mask (S, B, H) a hidden layer; all grid points of a seed see the same one."""
        # 16 random bits a unit are several times cheaper than a Bernoulli draw.
        below, keep = round(65536 * self.config.dropout), np.float32(1.0 / (1.0 - self.config.dropout))
        shape = (len(self.masks), rows, self.config.hidden_dim)
        masks = []
        for _ in range(self.models.layers):
            mask = np.empty(shape, dtype=np.float32)
            for one, rng in zip(mask, self.masks):
                np.multiply(rng.integers(0, 65536, size=shape[1:], dtype=np.uint16) >= below, keep, out=one)
            masks.append(torch.from_numpy(mask))
        return masks

    def _validate(self, epoch: int) -> None:
        parts = [self.models.probabilities(x) for x in self.valid.chunks()]
        scores = self.scorer(torch.cat(parts, dim=1).cpu().numpy())
        going: List[int] = []
        for place, (model, score) in enumerate(zip(self.alive, scores)):
            undefined = bool(np.isnan(score))
            if score > self.score[model] or model not in self.best:
                self.score[model] = -np.inf if undefined else score
                self.epoch[model], self.waited[model] = epoch, 0
                self.best[model] = self.models.model_state(place)
            else:
                self.waited[model] += 1
            if self.waited[model] < self.patience and not (undefined and self.config.kit_rules):
                going.append(place)
        while self.rungs and epoch * self.steps >= self.rungs[0]:
            self.rungs.pop(0)
            going = self._race_winners(going)
        if len(going) < len(self.alive):
            self.alive = [self.alive[place] for place in going]
            if self.alive:
                self.models.keep(going)

    def _race_winners(self, going: List[int]) -> List[int]:
        """The better half (rounded up) of the learning rates in each race, among these places."""
        races: Dict[tuple, List[int]] = {}
        for place in going:
            races.setdefault(_race(self.wanted[self.alive[place]]), []).append(place)
        won: List[int] = []
        for places in races.values():
            places.sort(key=lambda place: -self.score[self.alive[place]])
            won += places[: (len(places) + 1) // 2]
        return sorted(won)


def _stream(seed: int, number: int) -> int:
    """A seed for one stream of one run, distinct for all (seed, number)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))
