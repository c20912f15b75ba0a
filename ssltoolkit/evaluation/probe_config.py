"""Probe hyperparameters and training modes.

The grid is {1, 2} hidden layers x 4 learning rates x 2 initialisations. The grid point and the epoch are selected by
the task's first metric on the validation rows.

Two modes train the same models:

``standard``
    Trains all grid points of all seeds at once. Embeddings are standardised with the training rows' statistics, and
    batches are shuffled each epoch. HEAR's batch size of 1,024 would give a set of 600 clips one step per epoch; here
    it is the power of two (32 to 1,024) that gives at least 8 steps, so large sets use 1,024 and small ones still
    train. Learning rates are selected by successive halving (Jamieson and Talwalkar, AISTATS 2016): among those with
    the same seed, layers and initialisation, the better half continues after 200 steps and half of these after 400. On
    large sets validations are more frequent and patience ends after 1,000 steps.
``hear``
    Follows hear-eval-kit: the first 8 points of the grid shuffled with seed 42, embeddings not standardised, a bias
    before batch normalisation, batches of 1,024 files in the kit's order
    (:func:`ssltoolkit.evaluation.task_loading.kit_order`), mAP with 0 for a class without positives, and validations
    only at multiples of their interval. An undefined validation F (nothing predicted) ends a grid point. Settings that
    the kit or a task's metadata have for a single task also apply (:func:`for_task`). One difference: if an error rate
    selects the probe, the kit takes the post-processing with the highest error rate, this mode the lowest."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import torch

from ssltoolkit.errors import UserError, check_choice
from ssltoolkit.precision import cpu_flags

MODES = ("standard", "hear", "linear", "knn")
LEARNING_RATES = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
INITS = ("uniform", "normal")
HEAR_GRID_SEED, HEAR_GRID_POINTS = 42, 8
#: parameter grids that hear-eval-kit 2021.1.3 has for single tasks, by the name in their metadata
HEAR_TASK_GRIDS: Dict[str, Dict[str, list]] = {"dcase2016_task2": {"check_val_every_n_epoch": [10]}}
#: the kit's parameters with one value for the whole grid: our field, minimum, exclusive maximum, integers only
HEAR_SETTINGS = {
    "check_val_every_n_epoch": ("check_every", 1, math.inf, True),
    "patience": ("patience", 1, math.inf, True),
    "max_epochs": ("max_epochs", 1, math.inf, True),
    "batch_size": ("batch_size", 2, math.inf, True),
    "hidden_dim": ("hidden_dim", 1, math.inf, True),
    "dropout": ("dropout", 0, 1, False),
}
MIN_BATCH, MIN_STEPS = 32, 8
#: rows x hidden units from which tile units save more time than the conversion to bfloat16 costs
LOW_UNITS = 1 << 14
#: rows from which tensors are converted once for all their products; for smaller batches oneDNN converts block by block
#: and keeps results in float32
CONVERT_ROWS = 512


@dataclass(frozen=True)
class GridPoint:
    """One probe configuration."""

    hidden_layers: int
    lr: float
    init: str


@dataclass(frozen=True)
class ProbeConfig:
    """Training settings of the probes.

    Attributes:
        mode: one of ``standard``, ``hear``, ``linear``.
        grid: the grid points to train.
        max_epochs, max_steps: end of training; 0 steps for no limit.
        check_every, check_steps: epochs and steps between validations, whichever is shorter; 0 steps for epochs only.
        patience, patience_steps: validations and steps without improvement, whichever is shorter; 0 as above.
        halving_rounds: steps after which the worse half of the learning rates is stopped.
        batch_size: rows per step; 0 derives it from the number of rows, up to largest_batch.
        choose_by: ``score`` or ``loss`` on the validation rows, for early stopping and selecting the grid point.
        precision: ``float32``, ``bfloat16`` (inputs of matrix products only) or ``auto``: bfloat16 for all but small
            products on a CPU with tile units, float32 elsewhere.
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
    halving_rounds: Tuple[int, ...] = (200, 400)
    batch_size: int = 0
    largest_batch: int = 1024
    choose_by: str = "score"
    precision: str = "auto"
    device: str = "cpu"

    def schedule(self, steps: int) -> Tuple[int, int, int]:
        """Last epoch, epochs between validations and patience in validations, for this number of steps per epoch."""
        last, every, patience = self.max_epochs, self.check_every, self.patience
        if self.max_steps:
            last = min(last, math.ceil(self.max_steps / steps))
        if self.check_steps:
            every = max(1, min(every, self.check_steps // steps))
        if self.patience_steps:
            patience = max(1, min(patience, self.patience_steps // (every * steps)))
        return last, every, patience

    @property
    def hear_rules(self) -> bool:
        """Whether to follow hear-eval-kit's rules."""
        return self.mode == "hear"


def full_grid(layers: Sequence[int] = (1, 2), rates: Sequence[float] = LEARNING_RATES) -> List[GridPoint]:
    """The grid, ordered by parameter name (hidden_layers, initialization, lr) like scikit-learn's ParameterGrid."""
    return [GridPoint(n, lr, init) for n, init, lr in itertools.product(layers, INITS, rates)]


def hear_grid(*axes: Sequence[float]) -> Tuple[GridPoint, ...]:
    """The points of :func:`full_grid` with these arguments that hear-eval-kit tries."""
    grid = full_grid(*axes)  # type: ignore[arg-type]
    random.Random(HEAR_GRID_SEED).shuffle(grid)
    return tuple(grid[:HEAR_GRID_POINTS])


def for_task(config: ProbeConfig, name: str, own: Mapping[str, Any], where: str) -> Tuple[ProbeConfig, Dict[str, list]]:
    """Apply hear-eval-kit's settings for a single task to the configuration; modes other than ``hear`` are unchanged.

    Args:
        name: ``task_name`` of the metadata. own: its ``evaluation_params.task_specific_param_grid``, which overrides
            the kit's table. where: names the task in errors.

    Returns:
        The configuration, and the changed parameters with their values.

    Raises:
        UserError: an unknown parameter or value, or several values of a parameter outside the grid.
    """
    if not config.hear_rules:
        return config, {}
    wanted = {**HEAR_TASK_GRIDS.get(name, {}), **own}
    axes: Dict[str, list] = {"hidden_layers": [1, 2], "lr": list(LEARNING_RATES)}
    changes: Dict[str, Any] = {}
    for parameter, values in wanted.items():
        if parameter in axes:
            axes[parameter] = _checked(where, parameter, values, 0, math.inf, parameter == "hidden_layers")
        elif parameter in HEAR_SETTINGS:
            field_name, least, below, whole = HEAR_SETTINGS[parameter]
            values = _checked(where, parameter, values, least, below, whole)
            if len(values) > 1:
                raise UserError(f"{where}: {parameter} has {len(values)} values; --probe_mode hear takes one")
            changes[field_name] = values[0]
        else:
            known = ", ".join((*axes, *HEAR_SETTINGS))
            raise UserError(f"{where}: --probe_mode hear does not support {parameter!r}; supported: {known}")
    return replace(config, grid=hear_grid(axes["hidden_layers"], axes["lr"]), **changes), wanted


def _checked(where: str, parameter: str, values: Any, least: float, below: float, whole: bool) -> list:
    """Check that the values of a parameter are a list of numbers in range, and return them."""
    kinds = (int,) if whole else (int, float)
    right = isinstance(values, list) and values
    if not right or any(type(v) not in kinds or not least <= v < below for v in values):
        kind = "whole numbers" if whole else "numbers"
        limit = "" if below == math.inf else f" and below {below:g}"
        raise UserError(f"{where}: {parameter} must be a list of {kind} of at least {least:g}{limit}, got {values!r}")
    return values


def probe_config(mode: str = "standard", quick: bool = False, **changes: object) -> ProbeConfig:
    """The configuration of a mode.

    Args:
        mode: ``standard``, ``hear`` or ``linear``.
        quick: 4 grid points, 256 hidden units, batches of at most 256 rows, at most 60 epochs or 500 steps, for tests
            and small recipes; no effect on ``hear``.
        changes: fields of :class:`ProbeConfig` to change.
    """
    check_choice("mode", mode, MODES)
    config = ProbeConfig(mode=mode)
    if mode == "hear":
        config = replace(config, grid=hear_grid(), batch_size=1024, precision="float32")
        config = replace(config, check_steps=0, patience_steps=0, halving_rounds=())
    elif mode == "linear":
        config = replace(config, grid=tuple(p for p in full_grid((0,)) if p.init == "uniform"))
    if quick and mode != "hear":
        layers = (0,) if mode == "linear" else (1, 2)
        grid = tuple(GridPoint(n, lr, "uniform") for n in layers for lr in (3.2e-3, 1e-3))
        config = replace(config, grid=grid, hidden_dim=256, max_epochs=60, max_steps=500, patience=6, largest_batch=256)
    return replace(config, **changes)  # type: ignore[arg-type]


def choose_batch(rows: int, largest: int = 1024) -> int:
    """Largest power of two up to ``largest`` (at least 32) that gives 8 or more steps per epoch."""
    size = largest
    while size > MIN_BATCH and rows < MIN_STEPS * size:
        size //= 2
    return size


def has_tiles() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in tile units."""
    return "amx_bf16" in cpu_flags()


def products(config: ProbeConfig, rows: int) -> Tuple[torch.dtype, str]:
    """Precision of the matrix products for this number of rows per batch.

    Returns:
        The dtype of their inputs, and the value for :func:`torch.set_float32_matmul_precision`.
    """
    check_choice("precision", config.precision, ("auto", "float32", "bfloat16"))
    on_cpu = config.device == "cpu"
    if config.precision == "float32" or (
        config.precision == "auto" and not (on_cpu and rows * config.hidden_dim >= LOW_UNITS and has_tiles())
    ):
        return torch.float32, "highest"
    if on_cpu and rows < CONVERT_ROWS:
        return torch.float32, "medium"
    return torch.bfloat16, "highest"
