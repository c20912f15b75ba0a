"""Results of several models on several tasks, read from a folder tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from ssltoolkit.errors import DataError, UserError
from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.results import read_result
from ssltoolkit.evaluation.task import task_of

PathLike = Union[str, Path]


@dataclass
class Results:
    """All results of several models on several tasks.

    Attributes:
        models: rows in order. tasks: task names in order. table: (model, task name) -> result.
    """

    models: List[str]
    tasks: List[str]
    table: Dict[Tuple[str, str], Dict[str, Any]]

    def columns(self) -> List[Tuple[str, str]]:
        """(task name, metric) of every column: all that any model has, in the order of the first result."""
        columns: List[Tuple[str, str]] = []
        for task in self.tasks:
            for model in self.models:
                for metric in self.table.get((model, task), {"scores": {}})["scores"]:
                    if (task, metric) not in columns:
                        columns.append((task, metric))
        return columns

    def score(self, model: str, task: str, metric: str) -> Optional[Dict[str, Any]]:
        """Mean, per_seed and ci95 of one cell; None if not measured."""
        return self.table.get((model, task), {"scores": {}})["scores"].get(metric)

    def metric(self, task: str, name: str) -> Metric:
        """Heading, values and direction of a column."""
        return task_of(next(result for (_, found), result in self.table.items() if found == task)).metric(name)

    def seeds(self) -> str:
        """Meaning of the seeds of a score: ``pre-training seeds`` in merged results, else ``probe seeds``."""
        merged = any("runs" in result["meta"] for result in self.table.values())
        return "pre-training seeds" if merged else "probe seeds"

    def best(self, task: str, metric: str) -> str:
        """Model with the best mean in a column."""
        found = [(self.score(model, task, metric), model) for model in self.models]
        scored = [(score["mean"], model) for score, model in found if score]
        return (max if self.metric(task, metric).higher_is_better else min)(scored, key=lambda pair: pair[0])[1]


def collect(results_dir: PathLike, models: Sequence[str] = ()) -> Results:
    """Read every result file below a folder.

    Args:
        models: rows and their order; by default all, by name.

    Raises:
        UserError: no results, a named model without results, or two files for one model and task.
    """
    results_dir = Path(results_dir)
    files = sorted(results_dir.rglob("*.json"))
    if not files:
        raise DataError(f"{results_dir}: no result files (*.json); run ssltoolkit evaluate first (stages 6 to 8)")
    table: Dict[Tuple[str, str], Dict[str, Any]] = {}
    for path in files:
        result = read_result(path)
        key = (result["model"], result["task_name"])
        if key in table:
            raise DataError(
                f"{path}: a second result of model {key[0]!r} on {key[1]!r}, after {table[key]['path']}; remove one"
            )
        table[key] = result
    found = sorted({model for model, _ in table})
    for model in models:
        if model not in found:
            raise UserError(f"--models {model}: no results in {results_dir}; there are {', '.join(found)}")
    place = {name: task_of(result).position for (_, name), result in table.items()}
    return Results(list(models) or found, sorted(place, key=lambda name: (place[name], name)), table)
