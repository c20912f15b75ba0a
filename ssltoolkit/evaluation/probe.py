"""Probes on frozen embeddings: the whole grid of small MLPs and all seeds, trained as batches of models.

The modes are described in :mod:`ssltoolkit.evaluation.probe_config`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch

from ssltoolkit.evaluation.batched_mlp import BatchedMLP, ModelSpec, forward
from ssltoolkit.evaluation.features import Features
from ssltoolkit.evaluation.probe_config import GridPoint, ProbeConfig, choose_batch, products
from ssltoolkit.evaluation.probe_loss import ProbeLoss, loss_of

#: memory for weights, optimiser state and activations of the models trained together
TRAINING_BYTES = 3 << 29
#: the same in ``hear`` mode, which has no successive halving and gains little from larger batches of models
KIT_TRAINING_BYTES = 3 << 27

#: scores (M,) of predictions (M, N, C), higher is better; NaN where undefined
Scorer = Callable[[np.ndarray], np.ndarray]


#: seed and grid point of a model
Wanted = Tuple[int, GridPoint]


@dataclass
class FittedProbe:
    """The selected probe of one seed.

    Attributes:
        seed, point: its seed and grid point. valid_score: score on the validation rows. epoch: epoch of its weights.
    """

    seed: int
    point: GridPoint
    valid_score: float
    epoch: int
    state: Dict[str, torch.Tensor]
    loss: ProbeLoss
    mean: np.ndarray
    scale: np.ndarray

    def predict(self, features: Features) -> np.ndarray:
        """Class probabilities, or numbers, (n, C) float32 of every row."""
        features.transform(self.mean, self.scale)
        parts = [forward(self.state, x, self.point.hidden_layers, self.loss)[0] for x in features.chunks()]
        return torch.cat(parts).cpu().numpy()

    def summary(self) -> Dict[str, object]:
        """Entries for the result file."""
        return {
            "seed": self.seed,
            "hidden_layers": self.point.hidden_layers,
            "lr": self.point.lr,
            "init": self.point.init,
            "epoch": self.epoch,
            "valid_score": self.valid_score if np.isfinite(self.valid_score) else None,
        }


def fit_probes(
    train: Features,
    targets: np.ndarray,
    valid: Features,
    scorer: Scorer,
    num_outputs: int,
    seeds: Sequence[int],
    config: ProbeConfig,
    points: Optional[Dict[int, GridPoint]] = None,
    valid_targets: Optional[np.ndarray] = None,
    loss: Optional[ProbeLoss] = None,
) -> List[FittedProbe]:
    """Train the grid for every seed and select on the validation rows.

    Args:
        targets: (N,) int64 class indices, (N, C) 0/1 for independent classes, or the targets of ``loss``.
        scorer: function from the models' predictions of the validation rows to their scores.
        points: seed -> the only grid point to train (k-fold sets select it on their first split).
        valid_targets: like ``targets``; needed if the validation loss selects.
        loss: default: cross-entropy for class indices, binary cross-entropy for 0/1.

    Returns:
        One probe per seed, in the order of ``seeds``. A seed's probe does not depend on the other seeds.
    """
    if not config.hear_rules:
        mean, deviation = train.statistics()
        train.standardise(mean, deviation)
        valid.standardise(mean, deviation)
    loss = loss or loss_of(targets)
    rows = torch.as_tensor(np.asarray(targets, dtype=loss.dtype))
    wanted = [(s, p) for s in seeds for p in config.grid if not points or points[s] == p]
    threads = torch.get_num_threads() if config.device == "cpu" else 1
    parts = _parts(wanted, (train.dim, config.hidden_dim, num_outputs), len(train), config, threads)

    if config.choose_by == "loss":
        held_out = torch.as_tensor(np.asarray(valid_targets, dtype=loss.dtype))
    else:
        held_out = None

    def run(part: List[Wanted]) -> List[FittedProbe]:
        return _Training(part, num_outputs, loss, train, rows, valid, scorer, config, held_out).run()

    precision = products(config, _batch_rows(len(train), config))[1]
    with one_thread_each(threads) as pool, float32_products(precision):
        probes = [probe for found in pool.map(run, parts) for probe in found]
    best: Dict[int, FittedProbe] = {}
    for probe in sorted(probes, key=lambda one: config.grid.index(one.point)):
        held = best.get(probe.seed)
        if held is None or probe.valid_score > held.valid_score:
            best[probe.seed] = probe
    return [best[seed] for seed in seeds]


@contextlib.contextmanager
def one_thread_each(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool whose workers compute with one thread each.

    Independent models on single threads need no barrier inside every operation. On a shared machine these barriers
    made training twenty times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Set the precision of float32 matrix products (:func:`torch.set_float32_matmul_precision`) in all threads."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _batch_rows(rows: int, config: ProbeConfig) -> int:
    """Batch size for this number of training rows."""
    return min(rows, config.batch_size or choose_batch(rows, config.largest_batch))


def _parts(
    wanted: List[Wanted], sizes: Tuple[int, int, int], rows: int, config: ProbeConfig, threads: int
) -> List[List[Wanted]]:
    """Split models into batches of the same depth: one per thread, more if they do not fit into ``TRAINING_BYTES``.

    Models of one successive halving stay together, so that the result does not depend on the number of threads. The
    deepest models come first, so that the last jobs are short.
    """
    dim, hidden, classes = sizes
    batch = _batch_rows(rows, config)
    halvings = [
        list(same) for _, same in itertools.groupby(sorted(wanted, key=_successive_halving), key=_successive_halving)
    ]
    parts: List[List[Wanted]] = []
    for layers in sorted({point.hidden_layers for _, point in wanted}, reverse=True):
        units = [one for one in halvings if one[0][1].hidden_layers == layers]
        widths = [dim, *[hidden] * layers, classes]
        weights = sum(a * b for a, b in zip(widths[:-1], widths[1:]))
        # Weights, two moments, gradient and best copy; two activations per layer, three shared; all float32.
        one = 4 * (5 * weights + batch * (2 * sum(widths[1:]) + 3 * max(widths)))
        memory = KIT_TRAINING_BYTES if config.hear_rules else TRAINING_BYTES
        fitting = max(1, memory // (threads * one * max(map(len, units))))
        count = max(math.ceil(len(units) / fitting), min(threads, len(units)))
        bounds = np.linspace(0, len(units), count + 1).round().astype(int)
        parts += [sum(units[low:high], []) for low, high in zip(bounds[:-1], bounds[1:]) if low < high]
    return parts


def _successive_halving(model: Wanted) -> Tuple[int, int, str]:
    """Key of a model without its learning rate; models with the same key take part in one successive halving."""
    return model[0], model[1].hidden_layers, model[1].init


class _Training:
    """Training of models with the same layers, with early stopping per model."""

    def __init__(
        self,
        wanted: List[Wanted],
        num_outputs: int,
        loss: ProbeLoss,
        train: Features,
        targets: torch.Tensor,
        valid: Features,
        scorer: Scorer,
        config: ProbeConfig,
        valid_targets: Optional[torch.Tensor] = None,
    ) -> None:
        self.valid_targets = valid_targets
        self.config, self.train, self.targets, self.valid, self.scorer = config, train, targets, valid, scorer
        self.seeds = sorted({seed for seed, _ in wanted})
        self.wanted = sorted(wanted, key=lambda pair: (pair[1].lr, self.seeds.index(pair[0])))
        layers = self.wanted[0][1].hidden_layers
        sizes = [train.dim, *[config.hidden_dim] * layers, num_outputs]
        self.batch = _batch_rows(len(train), config)
        dtype = products(config, self.batch)[0]
        specs = [ModelSpec(p.lr, p.init, _stream(s, config.grid.index(p))) for s, p in self.wanted]
        groups = [self.seeds.index(seed) for seed, _ in self.wanted]
        self.models = BatchedMLP(sizes, specs, groups, loss, config.dropout, config.device, dtype, config.hear_rules)
        self.orders = [np.random.default_rng([seed, 1, layers]) for seed in self.seeds]
        self.masks = [np.random.default_rng([seed, 2, layers]) for seed in self.seeds]
        self.steps = max(1, round(len(train) / self.batch))
        self.last, self.every, self.patience = config.schedule(self.steps)
        self.halving_rounds = list(config.halving_rounds)
        self.alive = list(range(len(self.wanted)))
        self.score = np.full(len(self.wanted), -np.inf)
        self.epoch = np.zeros(len(self.wanted), dtype=int)
        self.waited = np.zeros(len(self.wanted), dtype=int)
        self.best: Dict[int, Dict[str, torch.Tensor]] = {}

    def run(self) -> List[FittedProbe]:
        """Train until every model has stopped; return the models from best to worst, ties in grid order."""
        for epoch in range(1, self.last + 1):
            for positions in self._batches():
                self.models.step(*self._rows(positions), self._dropout(positions.shape[1]))
            # hear-eval-kit validates the last epoch, the 500th, only if it is a multiple of the interval.
            at_end = epoch == self.last and not (self.config.hear_rules and self.best)
            if epoch % self.every == 0 or at_end:
                self._validate(epoch)
                if not self.alive:
                    break
        probes = []
        for seed in self.seeds:
            own = [i for i, (s, _) in enumerate(self.wanted) if s == seed]
            i = min(own, key=self._rank)
            point, loss = self.wanted[i][1], self.models.loss
            mean, scale = self.train.mean, self.train.scale
            probes.append(
                FittedProbe(seed, point, float(self.score[i]), int(self.epoch[i]), self.best[i], loss, mean, scale)
            )
        return probes

    def _batches(self):
        """Row positions (S, B) of every step of an epoch.

        Shuffled batches all have the same size; the few rows left over differ between epochs.
        """
        rows, steps = len(self.train), self.steps
        if self.config.hear_rules:
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
        return x, targets if self.models.loss.gathers else targets.float()

    def _dropout(self, rows: int) -> List[torch.Tensor]:
        """One mask (S, B, H) per hidden layer, shared by all grid points of a seed."""
        # 16 random bits per unit are several times cheaper than a Bernoulli draw.
        below, keep = round(65536 * self.config.dropout), np.float32(1.0 / (1.0 - self.config.dropout))
        shape = (len(self.masks), rows, self.config.hidden_dim)
        masks = []
        for _ in range(self.models.layers):
            mask = np.empty(shape, dtype=np.float32)
            for one, rng in zip(mask, self.masks):
                bits = rng.bit_generator.random_raw((one.size + 3) // 4).view(np.uint16)[: one.size]
                np.multiply(bits.reshape(one.shape) >= below, keep, out=one)
            masks.append(torch.from_numpy(mask))
        return masks

    def _scores(self) -> np.ndarray:
        """Score of every model on the validation rows, or its negative mean loss if the loss selects."""
        if self.valid_targets is None:
            parts = [self.models.predictions(x) for x in self.valid.chunks()]
            return self.scorer(torch.cat(parts, dim=1).cpu().numpy())
        total, start = torch.zeros(self.models.num_models, dtype=torch.float64), 0
        for x in self.valid.chunks():
            total += self.models.total_loss(x, self.valid_targets[start : start + len(x)]).cpu()
            start += len(x)
        return (-total / self.valid_targets.numel()).numpy()

    def _validate(self, epoch: int) -> None:
        scores = self._scores()
        going: List[int] = []
        for place, (model, score) in enumerate(zip(self.alive, scores)):
            undefined = bool(np.isnan(score))
            if score > self.score[model] or model not in self.best:
                self.score[model] = -np.inf if undefined else score
                self.epoch[model], self.waited[model] = epoch, 0
                self.best[model] = self.models.model_state(place)
            else:
                self.waited[model] += 1
            if self.waited[model] < self.patience and not (undefined and self.config.hear_rules):
                going.append(place)
        while self.halving_rounds and epoch * self.steps >= self.halving_rounds[0]:
            self.halving_rounds.pop(0)
            going = self._better_half(going)
        if len(going) < len(self.alive):
            self.alive = [self.alive[place] for place in going]
            if self.alive:
                self.models.keep(going)

    def _rank(self, model: int) -> Tuple[float, int]:
        """Sort key that orders models from best to worst, ties in grid order."""
        return -self.score[model], self.config.grid.index(self.wanted[model][1])

    def _better_half(self, going: List[int]) -> List[int]:
        """Among these positions, the better half (rounded up) of the learning rates of each successive halving."""
        halvings: Dict[tuple, List[int]] = {}
        for place in going:
            halvings.setdefault(_successive_halving(self.wanted[self.alive[place]]), []).append(place)
        won: List[int] = []
        for places in halvings.values():
            places.sort(key=lambda place: self._rank(self.alive[place]))
            won += places[: (len(places) + 1) // 2]
        return sorted(won)


def _stream(seed: int, number: int) -> int:
    """Seed of one random stream of one run, distinct for all (seed, number)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))
