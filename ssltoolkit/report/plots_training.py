"""Training curves: every strategy's loss and accuracy, and the signs of collapse, by step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Dict, List, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.errors import DataError
from ssltoolkit.report.style import DASHES, Picture, colour, figure, save

PathLike = Union[str, Path]
#: split -> scalar -> (steps, values)
Curves = Dict[str, Dict[str, Tuple[np.ndarray, np.ndarray]]]
UNITS = {"effective_rank": "effective rank", "embedding_std": "standard deviation", "clips_per_s": "clips/s"}
MAX_PANELS = 10


def read_log(path: Path) -> Curves:
    """Read ``train_log.jsonl``.

    Raises:
        DataError: a line that is not a JSON object with ``step`` and ``split``.
    """
    points: Dict[str, Dict[str, List[Tuple[int, float]]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            step, split = int(entry.pop("step")), str(entry.pop("split"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{path}:{number}: expected a JSON object with step and split; resume the training"
            ) from None
        for name, value in entry.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                points.setdefault(split, {}).setdefault(name, []).append((step, float(value)))
    return {
        split: {name: tuple(np.array(column) for column in zip(*values)) for name, values in scalars.items()}
        for split, scalars in points.items()
    }


def panels(logs: Dict[str, Curves]) -> List[str]:
    """Scalars to plot: losses first, then accuracies, then collapse statistics and speed."""
    names = {name for curves in logs.values() for scalars in curves.values() for name in scalars}
    losses = sorted((n for n in names if n == "loss" or n.endswith("/loss")), key=lambda n: (n != "loss", n))
    accuracies = sorted(n for n in names if "acc" in n.rsplit("/", 1)[-1])
    rest = [n for n in ("effective_rank", "embedding_std", "clips_per_s") if n in names]
    return [*losses, *accuracies, *rest][:MAX_PANELS]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean over about 1/40 of the curve."""
    width = max(1, len(values) // 40)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    first = np.clip(np.arange(len(values)) - width, 0, None)
    last = np.clip(np.arange(len(values)) + width + 1, None, len(values))
    return (sums[last] - sums[first]) / (last - first)


def training_curves(exp_dirs: Sequence[PathLike], output: Path) -> List[Picture]:
    """One figure with a panel per scalar and a colour per experiment.

    Raises:
        DataError: an experiment without ``train_log.jsonl``.
    """
    logs: Dict[str, Curves] = {}
    for folder in map(Path, exp_dirs):
        if not (folder / "train_log.jsonl").is_file():
            raise DataError(f"{folder}: no train_log.jsonl; leave it out of --exp_dirs or train it first (stage 4)")
        logs[folder.name] = read_log(folder / "train_log.jsonl")
    shown = panels(logs)
    if not shown:
        return []
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    fig, axes = figure(rows, columns, height=0.8 + 3.3 * rows)
    for axis, name in zip(axes.flat, shown):
        for number, (experiment, curves) in enumerate(logs.items()):
            look = {"color": colour(number), "linestyle": DASHES[number % len(DASHES)]}
            if name in curves.get("train", {}):
                steps, values = curves["train"][name]
                axis.plot(steps, values, color=colour(number), alpha=0.2, linewidth=1)
                axis.plot(steps, _smooth(values), linewidth=2, label=f"{experiment}, train", **look)
            if name in curves.get("valid", {}) and name != "clips_per_s":
                steps, values = curves["valid"][name]
                axis.plot(
                    steps, values, marker="o", markersize=6, markeredgecolor="white", linewidth=1,
                    label=f"{experiment}, valid", **look,
                )  # fmt: skip
        axis.set_title("total loss" if name == "loss" else name.replace("/", ": ").replace("_", " "), loc="left")
        if not name.endswith("loss"):
            axis.set_ylim(bottom=0)
        axis.set_xlabel("step")
        axis.set_ylabel(UNITS.get(name, name.rsplit("/", 1)[-1]))
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    handles, labels = max((axis.get_legend_handles_labels() for axis in axes.flat), key=lambda pair: len(pair[1]))
    fig.legend(handles, labels, loc="outside upper left", ncols=min(4, len(labels)), frameon=False)
    caption = "Thin: every logged step; thick: moving mean; dots: validation. The total is what training minimises."
    return [Picture(save(fig, output / "training.png"), "Training curves", caption)]
