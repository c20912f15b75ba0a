"""Scores of all models with their intervals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import List

from ssltoolkit.report.collect import Results
from ssltoolkit.report.style import Picture, colour, figure, marker, save


def score_bars(results: Results, output: Path) -> List[Picture]:
    """One panel per task and metric: bars show the mean, whiskers the 95 % interval, dots the seeds."""
    shown = results.columns()
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    fig, axes = figure(rows, columns, height=0.4 + rows * (1.15 + 0.5 * len(results.models)))
    for axis, (task, metric) in zip(axes.flat, shown):
        measure = results.metric(task, metric)
        factor = measure.factor
        for place, model in enumerate(results.models):
            score = results.score(model, task, metric)
            if score is None:
                continue
            mean, (low, high) = factor * score["mean"], (factor * value for value in score["ci95"])
            axis.barh(place, mean, color=colour(place), alpha=0.45, height=0.62)
            error = [[max(mean - low, 0.0)], [max(high - mean, 0.0)]]
            axis.errorbar(mean, place, xerr=error, color="black", capsize=5, linewidth=1.6)
            seeds = [factor * value for value in score["per_seed"]]
            axis.plot(
                seeds, [place] * len(seeds), marker(place), color=colour(place), markeredgecolor="black", markersize=6
            )
            axis.text(1.01, place, measure.printed(score["mean"]), transform=axis.get_yaxis_transform(), va="center")
        axis.set_yticks(range(len(results.models)), results.models)
        axis.set_ylim(len(results.models) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set_title(task, loc="left")
        axis.set_xlabel(measure.heading)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    caption = (
        f"Bar and number: mean over {results.seeds()}; whisker: 95 % bootstrap interval over files and seeds; dots: "
        "single seeds. ↓ lower is better."
    )
    return [Picture(save(fig, output / "scores.png"), "Scores", caption)]


def label_efficiency(results: Results, output: Path) -> List[Picture]:
    """Score by share of the training files, one panel per task's first metric; no figure if not measured."""
    measured = {
        key: result["label_efficiency"] for key, result in results.table.items() if "label_efficiency" in result
    }
    shown = [(task, metric) for task, metric in _first_metrics(results) if any(name == task for _, name in measured)]
    if not shown:
        return []
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    fig, axes = figure(rows, columns, height=0.8 + 3.6 * rows)
    for axis, (task, metric) in zip(axes.flat, shown):
        factor = results.metric(task, metric).factor
        for place, model in enumerate(results.models):
            if (model, task) not in measured:
                continue
            curve = measured[model, task]
            shares = [100.0 * float(share) for share in curve]
            # Shift models slightly, so that no interval hides another.
            places = [share * 1.02 ** (place - (len(results.models) - 1) / 2) for share in shares]
            scores = [scores[metric] for scores in curve.values()]
            means = [factor * score["mean"] for score in scores]
            low = [factor * max(score["mean"] - score["ci95"][0], 0.0) for score in scores]
            high = [factor * max(score["ci95"][1] - score["mean"], 0.0) for score in scores]
            axis.errorbar(
                places, means, yerr=[low, high], marker=marker(place), capsize=4, color=colour(place), label=model
            )
        axis.set_xscale("log")
        axis.set_xticks(shares, [f"{share:g}" for share in shares])
        axis.minorticks_off()
        axis.set_title(task, loc="left")
        axis.set_xlabel("share of the training files (%)")
        axis.set_ylabel(results.metric(task, metric).heading)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False)
    caption = f"Mean over {results.seeds()} and 95 % bootstrap interval; the training files are drawn class by class."
    return [Picture(save(fig, output / "label_efficiency.png"), "Label efficiency", caption)]


def _first_metrics(results: Results) -> List[tuple]:
    seen: List[tuple] = []
    for task, metric in results.columns():
        if all(task != name for name, _ in seen):
            seen.append((task, metric))
    return seen
