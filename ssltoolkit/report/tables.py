"""Tables in Markdown and plain text: scores with spread and intervals, paired differences, label efficiency."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.errors import DataError, UserError
from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.results import compare_results, read_result, training_text
from ssltoolkit.evaluation.statistics import Comparison
from ssltoolkit.evaluation.task import task_of
from ssltoolkit.report.collect import Results

PathLike = Union[str, Path]
Differences = Dict[Tuple[str, str, str], Comparison]
#: label of the last row of the table of differences
DETECTABLE = "detected with 80 % power"


def spread(score: Dict[str, Any]) -> float:
    """Standard deviation over seeds (n - 1), 0 for one seed."""
    values = score["per_seed"]
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def cell(metric: Metric, score: Dict[str, Any]) -> str:
    """``mean ± spread [low, high]``; one seed has no spread."""
    mean, low, high = (metric.printed(value) for value in (score["mean"], *score["ci95"]))
    deviation = f" ± {metric.printed(spread(score))}" if len(score["per_seed"]) > 1 else ""
    return f"{mean}{deviation} [{low}, {high}]"


def difference_cell(metric: Metric, found: Comparison) -> str:
    """``+difference [low, high], p``."""
    sign = "+" if found.difference >= 0 else "−"
    low, high = (metric.printed(value).replace("-", "−") for value in found.ci95)
    # Ranked metrics may have few replicates, which limits the smallest p-value.
    p = (
        f"p ≤ {math.ceil(1000 * found.smallest_p) / 1000:.3f}"
        if found.p_value <= found.smallest_p
        else f"p = {found.p_value:.3f}"
    )
    return f"{sign}{metric.printed(abs(found.difference))} [{low}, {high}], {p}"


def summary_rows(results: Results) -> List[List[str]]:
    """All tasks and metrics in one table, with mean ± spread only."""
    return _rows(results, results.columns(), "{task}: {heading}", lambda m, s: cell(m, s).split(" [")[0])


def score_rows(results: Results, task: str) -> List[List[str]]:
    """One task with intervals: a header row, then one row per model."""
    return _rows(results, [column for column in results.columns() if column[0] == task], "{heading}", cell)


def _rows(results: Results, columns: Sequence[Tuple[str, str]], title: str, text_of: Callable) -> List[List[str]]:
    """Rows of cells; ``–`` if not measured, the best mean of a column in bold."""
    rows = [
        ["model", *(title.format(task=task, heading=results.metric(task, metric).heading) for task, metric in columns)]
    ]
    best = {column: results.best(*column) for column in columns}
    for model in results.models:
        row = [model]
        for task, metric in columns:
            score = results.score(model, task, metric)
            text = "–" if score is None else text_of(results.metric(task, metric), score)
            row.append(f"**{text}**" if score is not None and best[task, metric] == model else text)
        rows.append(row)
    return rows


def differences(results: Results, reference: str) -> Differences:
    """(model, task, metric) -> model minus reference on the same files."""
    if reference not in results.models:
        raise UserError(f"--reference {reference}: no such model; there are {', '.join(results.models)}")
    found: Differences = {}
    for model in results.models:
        for task in results.tasks:
            pair = results.table.get((model, task)), results.table.get((reference, task))
            if model != reference and all(pair):
                for metric, comparison in compare_results(*pair).items():  # type: ignore[arg-type]
                    found[model, task, metric] = comparison
    return found


def difference_rows(results: Results, found: Differences, task: str) -> List[List[str]]:
    """One task: a header row, one row per compared model, and the smallest detectable difference."""
    columns = [column for column in results.columns() if column[0] == task and any(k[1:] == column for k in found)]
    rows = [["model", *(results.metric(task, metric).heading for _, metric in columns)]]
    for model in results.models:
        cells = [
            difference_cell(results.metric(task, metric), found[model, task, metric])
            if (model, task, metric) in found
            else "–"
            for task, metric in columns
        ]
        if any(text != "–" for text in cells):
            rows.append([model, *cells])
    if len(rows) > 1:
        detectable = [
            float(np.median([one.detectable for key, one in found.items() if key[1:] == column])) for column in columns
        ]
        rows.append(
            [DETECTABLE, *(results.metric(*column).printed(value) for column, value in zip(columns, detectable))]
        )
    return rows


def efficiency_rows(results: Results) -> List[List[str]]:
    """Header row, then one row per model, task, metric and share of the labels; only the header if there are none."""
    rows = [["model", "task", "metric", "share of training files", "score"]]
    for (model, task), result in sorted(results.table.items()):
        for fraction, scores in result.get("label_efficiency", {}).items():
            for name, score in scores.items():
                metric = results.metric(task, name)
                rows.append([model, task, metric.heading, f"{100 * float(fraction):g} %", cell(metric, score)])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table; the first is the header."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def plain(results: Results) -> str:
    """The scores for a terminal: one block per task, columns aligned."""
    blocks = []
    for task in results.tasks:
        metrics = [results.metric(task, metric) for name, metric in results.columns() if name == task]
        rows = [[task, *(metric.heading for metric in metrics)]]
        for model in results.models:
            scores = [results.score(model, task, metric.name) for metric in metrics]
            rows.append([model, *("–" if s is None else cell(m, s) for m, s in zip(metrics, scores))])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        blocks.append("\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths)).rstrip() for row in rows))
    return "\n\n".join(blocks)


def provenance(results: Results) -> List[str]:
    """Description of the measurement: data, sizes, seeds and probe of each task, then distinct versions and commits."""
    lines: List[str] = []
    stamps: List[str] = []
    for task in results.tasks:
        for result in (results.table[key] for key in sorted(results.table) if key[1] == task):
            meta, probe = result["meta"], result["probe"]
            quick = ", quick" if probe["quick"] else ""
            runs = f", {len(meta['runs'])} pre-training seeds" if "runs" in meta else ""
            short = meta.get("events_too_short", 0)
            lost = f", {short:,} of {meta['events']:,} events too short for the post-processing" if short else ""
            classes = f", {meta['num_classes']} classes" if meta["num_classes"] else ""
            lines.append(
                f"{task} ({result['task']}): {meta['data_dir']}, {training_text(meta)}{classes}, data "
                f"{meta['data_hash'][:12]}, probe {probe['mode']}{quick}, seeds "
                f"{', '.join(map(str, meta['seeds']))}{runs}{lost}"
            )
            versions = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
            stamps.append(f"measured with {versions}" + (f", commit {meta['commit']}" if meta["commit"] else ""))
    return list(dict.fromkeys(lines + stamps))


def commands(results: Results) -> List[str]:
    """The distinct evaluate commands of the results; runs may share one, as log-mel statistics have no seed."""
    found = [result["meta"] for _, result in sorted(results.table.items())]
    return list(dict.fromkeys(run["command"] for meta in found for run in meta.get("runs", [meta])))


SCORES_TEXT = (
    "Mean and, with several seeds, ± standard deviation over seeds (of pre-training where several were run, else of "
    "the probe); in brackets the 95 % bootstrap interval over files and seeds, which is somewhat narrow where two or "
    "three seeds differ much. Per cent unless the heading says otherwise; ↓ lower is better; the best mean of a column "
    "is bold."
)
DIFFERENCES_TEXT = (
    "Model minus reference on the same files: difference [95 % paired bootstrap interval over files and seeds], "
    "two-sided p-value of the same bootstrap, which is somewhat small where two or three seeds differ much. "
    "Differences of per cent are percentage points. The last row: the smallest true difference that such a test "
    "detects with 80 % power, from the width of the intervals."
)


def results_markdown(results: Results, reference: str, found: Differences, command: str) -> str:
    """The text of RESULTS.md."""
    parts = ["# Results", SCORES_TEXT, markdown(summary_rows(results))]
    for task in results.tasks:
        parts += [f"## {task}", markdown(score_rows(results, task))]
        rows = difference_rows(results, found, task)
        if len(rows) > 1:
            parts += [f"Difference to {reference}:", markdown(rows)]
    if found:
        parts.append(DIFFERENCES_TEXT)
    efficiency = efficiency_rows(results)
    if len(efficiency) > 1:
        parts += ["## Label efficiency", markdown(efficiency)]
    parts += ["## How it was measured", "\n".join(f"- {line}" for line in provenance(results))]
    parts += ["```\n" + "\n".join([*commands(results), command]) + "\n```"]
    return "\n\n".join(parts) + "\n"


def comparison_lines(path_a: PathLike, path_b: PathLike) -> List[str]:
    """Output of ``ssltoolkit evaluate --compare A B``, one line per metric."""
    a, b = read_result(path_a), read_result(path_b)
    if a["task"] != b["task"]:
        raise DataError(f"{path_b}: a {b['task']} result cannot be compared with a {a['task']} result")
    found = compare_results(a, b)
    return [
        f"{a['model']} - {b['model']}",
        *(f"{name}: {difference_cell(task_of(a).metric(name), one)}" for name, one in found.items()),
    ]
