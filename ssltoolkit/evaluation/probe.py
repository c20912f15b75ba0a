"""Probes on frozen embeddings: the HEAR grid of small perceptrons, trained as one batch of models; linear and kNN.

The grid is {1, 2} hidden layers x 4 learning rates x 2 initialisations; the grid point, and the epoch of each, are
chosen by the task's first metric on the validation rows.

Two modes train the same models:

``standard``
    All grid points of all seeds at once. Embeddings are standardised by the training rows' statistics and batches are
    shuffled each epoch. HEAR's batch of 1,024 gives a set of 600 clips one step an epoch; here the batch is the power of
    two (32 to 1,024) that gives at least 8 steps, so large sets use 1,024 and small ones still train.
``hear``
    As hear-eval-kit does: the first 8 points of the grid shuffled with seed 42, embeddings as they are, batches of 1,024
    in a fixed order, and a validation F that is undefined (nothing predicted) ends a grid point.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, List, Optional, Sequence, Tuple

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


@dataclass(frozen=True)
class ProbeConfig:
    """How probes are trained.

    Attributes:
        mode: one of ``standard``, ``hear``, ``linear``.
        grid: the points tried. check_every: epochs between validations. patience: validations without a better score.
        batch_size: rows a step; 0 chooses it by the number of rows.
        precision: ``float32``, ``bfloat16`` (matrix products only) or ``auto``: bfloat16 for large products on a CPU with
            tile units, where it is several times faster.
    """

    mode: str = "standard"
    grid: Tuple[GridPoint, ...] = field(default_factory=lambda: tuple(full_grid()))
    hidden_dim: int = 1024
    dropout: float = 0.1
    max_epochs: int = 500
    check_every: int = 3
    patience: int = 20
    batch_size: int = 0
    precision: str = "auto"
    device: str = "cpu"

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
        quick: 4 grid points, 256 hidden units, at most 60 epochs: for tests and small recipes; not with ``hear``.
        changes: fields of :class:`ProbeConfig` that differ.
    """
    check_choice("mode", mode, MODES)
    config = ProbeConfig(mode=mode)
    if mode == "hear":
        grid = full_grid()
        random.Random(HEAR_GRID_SEED).shuffle(grid)
        config = replace(config, grid=tuple(grid[:HEAR_GRID_POINTS]), batch_size=1024, precision="float32")
    elif mode == "linear":
        config = replace(config, grid=tuple(p for p in full_grid((0,)) if p.init == "uniform"))
    if quick and mode != "hear":
        layers = (0,) if mode == "linear" else (1, 2)
        grid = tuple(GridPoint(n, lr, "uniform") for n in layers for lr in (3.2e-3, 1e-3))
        config = replace(config, grid=grid, hidden_dim=256, max_epochs=60, patience=6)
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
        features.mean, features.scale = self.mean, self.scale
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
            "valid_score": self.valid_score,
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
    best: Dict[int, FittedProbe] = {}
    for layers in sorted({point.hidden_layers for point in config.grid}):
        wanted = [
            (seed, point)
            for seed in seeds
            for point in config.grid
            if point.hidden_layers == layers and (not points or points[seed] == point)
        ]
        sizes = [train.dim, *[config.hidden_dim] * layers, num_classes]
        for part in _parts_that_fit(wanted, sizes, len(train), config):
            for probe in _Training(part, sizes, loss, train, rows, valid, scorer, config).run():
                held = best.get(probe.seed)
                if held is None or probe.valid_score > held.valid_score:
                    best[probe.seed] = probe
    return [best[seed] for seed in seeds]


def _parts_that_fit(wanted: List[tuple], sizes: Sequence[int], rows: int, config: ProbeConfig) -> List[List[tuple]]:
    """Whole seeds together as long as their models fit into ``TRAINING_BYTES``."""
    batch = min(rows, config.batch_size or choose_batch(rows))
    weights = sum(a * b for a, b in zip(sizes[:-1], sizes[1:]))
    # Weights, two moments, gradient, update and best copy; two activations a layer and two shared.
    one = 4 * (6 * weights + batch * sum((2 * h for h in sizes[1:]), 2 * max(sizes[1:])))
    at_once = max(1, TRAINING_BYTES // one)
    parts: List[List[tuple]] = []
    for _, same_seed in itertools.groupby(wanted, key=lambda pair: pair[0]):
        models = list(same_seed)
        if parts and len(parts[-1]) + len(models) <= at_once:
            parts[-1] += models
        else:
            parts.append(models)
    return parts


class _Training:
    """Training of models with the same layers, with early stopping for each."""

    def __init__(
        self,
        wanted: List[tuple],
        sizes: Sequence[int],
        loss: str,
        train: Features,
        targets: torch.Tensor,
        valid: Features,
        scorer: Scorer,
        config: ProbeConfig,
    ) -> None:
        self.config, self.train, self.targets, self.valid, self.scorer = config, train, targets, valid, scorer
        self.seeds = sorted({seed for seed, _ in wanted})
        self.wanted = sorted(wanted, key=lambda pair: self.seeds.index(pair[0]))
        self.batch = min(len(train), config.batch_size or choose_batch(len(train)))
        dtype = _matmul_dtype(config, self.batch)
        specs = [ModelSpec(p.lr, p.init, _stream(s, config.grid.index(p))) for s, p in self.wanted]
        groups = [self.seeds.index(seed) for seed, _ in self.wanted]
        self.models = BatchedMLP(sizes, specs, groups, loss, config.dropout, config.device, dtype)
        layers = len(sizes) - 2
        self.orders = [np.random.default_rng([seed, 1, layers]) for seed in self.seeds]
        self.masks = [torch.Generator().manual_seed(_stream(seed, 1000 + layers)) for seed in self.seeds]
        self.alive = list(range(len(self.wanted)))
        self.score = np.full(len(self.wanted), -np.inf)
        self.epoch = np.zeros(len(self.wanted), dtype=int)
        self.waited = np.zeros(len(self.wanted), dtype=int)
        self.best: Dict[int, Dict[str, torch.Tensor]] = {}

    def run(self) -> List[FittedProbe]:
        """Train until every model has stopped; the best of every seed, earlier grid points first among equals."""
        for epoch in range(1, self.config.max_epochs + 1):
            for positions in self._batches():
                self.models.step(*self._rows(positions), self._dropout(positions.shape[1]))
            if epoch % self.config.check_every == 0 or epoch == self.config.max_epochs:
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
        rows = len(self.train)
        if self.config.kit_rules:
            for start in range(0, rows, self.batch):
                positions = np.arange(start, min(start + self.batch, rows))
                if len(positions) > 1 or rows == 1:
                    yield np.tile(positions, (len(self.seeds), 1))
            return
        steps = max(1, round(rows / self.batch))
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
        shape, keep = (rows, self.config.hidden_dim), 1.0 - self.config.dropout
        draw = lambda g: torch.empty(shape).bernoulli_(keep, generator=g).div_(keep)  # noqa: E731
        return [torch.stack([draw(g) for g in self.masks]) for _ in range(self.models.layers)]

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
            if self.waited[model] < self.config.patience and not (undefined and self.config.kit_rules):
                going.append(place)
        if len(going) < len(self.alive):
            self.alive = [self.alive[place] for place in going]
            if self.alive:
                self.models.keep(going)


def _stream(seed: int, number: int) -> int:
    """A seed for one stream of one run, distinct for all (seed, number)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))
