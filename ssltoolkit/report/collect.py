"""Results of several models on several tasks, read from a folder tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from ssltoolkit.errors import DataError, UserError
from ssltoolkit.evaluation.results import read_result

PathLike = Union[str, Path]
#: metric -> (heading, whether a higher score is better, factor and decimals of the printed number)
HEADINGS = {
    "top1_acc": "accuracy (%)",
    "mAP": "mAP (%)",
    "aucroc": "ROC AUC (%)",
    "d_prime": "d′",
    "pitch_acc": "pitch acc. (%)",
    "chroma_acc": "chroma acc. (%)",
    "event_onset_200ms_fms": "onset F 200 ms (%)",
    "event_onset_50ms_fms": "onset F 50 ms (%)",
    "event_onset_offset_50ms_20perc_fms": "onset+offset F 50 ms/20 % (%)",
    "segment_1s_er": "error rate 1 s ↓",
    "psds1": "PSDS 1 (%)",
    "psds2": "PSDS 2 (%)",
}
LOWER_IS_BETTER = ("segment_1s_er",)
AS_NUMBER = ("segment_1s_er", "d_prime")


def heading(metric: str) -> str:
    """Column heading with the unit; an arrow down where lower is better."""
    return HEADINGS.get(metric, metric)


def printed(metric: str, value: float) -> str:
    """A score (or a difference) as the tables print it: per cent with one decimal, rates with three."""
    return f"{value:.3f}" if metric in AS_NUMBER else f"{100 * value:.1f}"


@dataclass
class Results:
    """Everything measured.

    Attributes:
        models: rows in order. tasks: task names in order. table: (model, task name) -> result.
    """

    models: List[str]
    tasks: List[str]
    table: Dict[Tuple[str, str], Dict[str, Any]]

    def columns(self) -> List[Tuple[str, str]]:
        """(task name, metric) of every column: those any model has, in the order of the first result."""
        columns: List[Tuple[str, str]] = []
        for task in self.tasks:
            for model in self.models:
                for metric in self.table.get((model, task), {"scores": {}})["scores"]:
                    if (task, metric) not in columns:
                        columns.append((task, metric))
        return columns

    def score(self, model: str, task: str, metric: str) -> Optional[Dict[str, Any]]:
        """Mean, per_seed and ci95 of one cell, or None where it was not measured."""
        return self.table.get((model, task), {"scores": {}})["scores"].get(metric)

    def seeds(self) -> str:
        """What differs between the values of a score: ``pre-training seeds`` in merged results, else ``probe seeds``."""
        merged = any("runs" in result["meta"] for result in self.table.values())
        return "pre-training seeds" if merged else "probe seeds"

    def best(self, task: str, metric: str) -> str:
        """Model with the best mean in a column."""
        found = [(self.score(model, task, metric), model) for model in self.models]
        scored = [(score["mean"], model) for score, model in found if score]
        return (min if metric in LOWER_IS_BETTER else max)(scored, key=lambda pair: pair[0])[1]


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
    order = {"clip": 0, "sed": 1, "pitch": 2}
    tasks = sorted({task for _, task in table}, key=lambda name: (_kind_rank(table, name, order), name))
    return Results(list(models) or found, tasks, table)


def _kind_rank(table: Dict[Tuple[str, str], Dict[str, Any]], task: str, order: Dict[str, int]) -> int:
    return min(order[result["task"]] for (_, name), result in table.items() if name == task)
