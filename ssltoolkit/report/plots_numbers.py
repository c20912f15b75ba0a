"""Scatter plots of predicted against true numbers, for regression tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping

import numpy as np

from ssltoolkit.report.style import COLOURS, Picture, figure, file_name, save


def scatter(
    result: Mapping[str, Any], true: np.ndarray, predicted: np.ndarray, label: str, folder: Path
) -> List[Picture]:
    """One point per test file: true number on the x axis, mean prediction over seeds on the y axis.

    Args:
        true: (F,). predicted: (S, F), in the same unit. label: axis label with the unit, such as ``tempo (BPM)``.
    """
    fig, axes = figure(height=8.0)
    axis = axes[0, 0]
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    axis.plot([low, high], [low, high], "--", color="grey", linewidth=1)
    axis.scatter(true, predicted.mean(axis=0), s=44, color=COLOURS[0], edgecolors="white", linewidths=0.4)
    axis.set_xlabel(f"true {label}")
    axis.set_ylabel(f"predicted {label}")
    axis.set_title(f"{result['task_name']}, {result['model']}: {len(true)} test files", loc="left")
    name = f"numbers_{file_name(result['task_name'])}_{file_name(result['model'])}.png"
    caption = "Mean prediction of the probe seeds; a perfect probe puts every file on the dashed line."
    return [Picture(save(fig, folder / name), f"{result['task_name']}: predicted over true", caption)]
