#!/usr/bin/env python3
"""Frozen scores against hours of the pool and steps of pre-training: a table, and a figure with 95 % intervals.

Reads the output of curves.sh, ``RESULTS/<hours>_<steps>/results/<model>/<task>.json``, and writes ``curves.tsv`` and
``curves.png`` to the folder ``--output``. With ``--table`` it draws an existing table.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from ssltoolkit.errors import DataError
from ssltoolkit.report.collect import collect
from ssltoolkit.report.style import DASHES, colour, figure, marker, save

#: models without pre-training, drawn as horizontal lines
BASELINES = ("logmel", "untrained")


class Score(NamedTuple):
    """One row of the table: a model's score on a task with its 95 % interval, as printed."""

    model: str
    hours: float
    steps: int
    task: str
    metric: str
    mean: float
    low: float
    high: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="folder with one experiment per pair of hours and steps")
    parser.add_argument("--pool", type=Path, help="formatted set pretrain, which gives the hours of 'all'")
    parser.add_argument("--table", type=Path, help="draw this existing table instead")
    parser.add_argument("--tasks", default="", help="draw only these tasks, comma-separated")
    parser.add_argument("--output", type=Path, required=True, help="output folder for curves.tsv and curves.png")
    args = parser.parse_args()
    if (args.table is None) == (args.results is None):
        parser.error("give --results or --table")
    if args.results is not None and args.pool is None:
        parser.error("--results needs --pool")
    try:
        scores = read_table(args.table) if args.table else measured(args.results, args.pool)
        args.output.mkdir(parents=True, exist_ok=True)
        write_table(args.output / "curves.tsv", scores)
        draw(scores, args.tasks.split(",") if args.tasks else [], args.output / "curves.png")
    except DataError as error:
        print(f"curves.py: error: {error}", file=sys.stderr)
        return 2
    print(f"curves.py: {len(scores)} scores to {args.output}/curves.tsv, picture to {args.output}/curves.png")
    return 0


def measured(results: Path, pool: Path) -> List[Score]:
    """The first metric of every task of every experiment below ``results``."""
    scores: List[Score] = []
    for folder in sorted(results.glob("*_*/results")):
        hours, steps = folder.parent.name.rsplit("_", 1)
        lasts = total_hours(pool / "pretrain") if hours == "all" else float(hours)
        found = collect(folder)
        for task, metric in first_metrics(found.columns()):
            for model in found.models:
                score = found.score(model, task, metric)
                if score is not None:
                    pretrained = model not in BASELINES
                    kind = found.metric(task, metric)
                    place = (model, lasts * pretrained, int(steps) * pretrained, task, kind.heading)
                    scores.append(Score(*place, *(kind.factor * value for value in (score["mean"], *score["ci95"]))))
    if not scores:
        raise DataError(f"{results}: no results below <hours>_<steps>/results; run curves.sh")
    return scores


def total_hours(data_dir: Path) -> float:
    """Hours of a data directory according to its utt2dur."""
    path = data_dir / "utt2dur"
    if not path.is_file():
        raise DataError(f"{path}: no such file; run curves.sh from its first stage")
    return sum(float(line.split()[1]) for line in path.read_text(encoding="utf-8").splitlines()) / 3600


def first_metrics(columns: Sequence[Tuple[str, str]]) -> List[Tuple[str, str]]:
    """The first metric of each task."""
    chosen: Dict[str, str] = {}
    for task, metric in columns:
        chosen.setdefault(task, metric)
    return list(chosen.items())


def write_table(path: Path, scores: Sequence[Score]) -> None:
    """Write the scores as a table with a header line."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(Score._fields)
        for score in scores:
            writer.writerow([f"{value:.4f}" if isinstance(value, float) else value for value in score])


def read_table(path: Path) -> List[Score]:
    """Read a table written by :func:`write_table`."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        kinds = {"hours": float, "steps": int, "mean": float, "low": float, "high": float}
        return [Score(*(kinds.get(name, str)(row[name]) for name in Score._fields)) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a table of scores ({error}); make it with --results") from None


def draw(scores: Sequence[Score], tasks: Sequence[str], path: Path) -> None:
    """One row per task: scores against hours at the most common number of steps, and against steps with all hours."""
    metrics = first_metrics([(score.task, score.metric) for score in scores])
    known = [task for task, _ in metrics]
    for task in tasks:
        if task not in known:
            raise DataError(f"--tasks: no scores of {task!r}; there are {', '.join(known)}")
    shown = [pair for pair in metrics if not tasks or pair[0] in tasks]
    trained = [score for score in scores if score.model not in BASELINES]
    models = sorted({score.model for score in trained})
    most = max(score.hours for score in trained)
    steps = common_steps(trained)
    fig, axes = figure(len(shown), 2, height=0.6 + 2.9 * len(shown))
    for row, (task, metric) in zip(axes, shown):
        of_task = [score for score in scores if (score.task, score.metric) == (task, metric)]
        panel(row[0], [s for s in of_task if s.steps in (0, steps)], models, "hours")
        panel(row[1], [s for s in of_task if s.hours in (0, most)], models, "steps")
        row[0].set_ylabel(metric)
        row[0].set_title(f"{task}, {steps:,} steps", loc="left")
        row[1].set_title(f"{task}, {most:.1f} hours", loc="left")
        low, high = (pick(row[0].get_ylim()[end], row[1].get_ylim()[end]) for end, pick in ((0, min), (1, max)))
        for axis in row:
            axis.set_ylim(low, high)
    for axis, label in zip(axes[-1], ("hours of audio", "steps of 128 clips")):
        axis.set_xlabel(label)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False)
    save(fig, path)


def common_steps(scores: Sequence[Score]) -> int:
    """The number of steps that exists for the most amounts of audio."""
    hours: Dict[int, set] = {}
    for score in scores:
        hours.setdefault(score.steps, set()).add(score.hours)
    return max(hours, key=lambda steps: (len(hours[steps]), steps))


def panel(axis, scores: Sequence[Score], models: Sequence[str], along: str) -> None:
    """Draw scores of one task against ``hours`` or ``steps``; baselines are lines with their interval as a band."""
    places = sorted({getattr(score, along) for score in scores if score.hours})
    for number, model in enumerate(models):
        own = sorted((s for s in scores if s.model == model), key=lambda s: getattr(s, along))
        at = [getattr(s, along) * 1.03 ** (number - (len(models) - 1) / 2) for s in own]
        error = [[max(s.mean - s.low, 0.0) for s in own], [max(s.high - s.mean, 0.0) for s in own]]
        axis.errorbar(
            at, [s.mean for s in own], yerr=error, marker=marker(number), capsize=4, color=colour(number), label=model
        )
    for number, model in enumerate(BASELINES):
        for score in scores:
            if score.model == model:
                shade = colour(number + len(models))
                axis.axhline(score.mean, color=shade, linestyle=DASHES[number + 1], label=model)
                axis.axhspan(score.low, score.high, color=shade, alpha=0.12, linewidth=0)
                break
    axis.set_xscale("log")
    axis.set_xticks(places, [f"{place:,.3g}" if place < 100 else f"{place:,.0f}" for place in places])
    axis.minorticks_off()


if __name__ == "__main__":
    sys.exit(main())
