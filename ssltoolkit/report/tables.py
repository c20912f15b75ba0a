"""Tables in Markdown and plain text: scores with spread and intervals, paired differences, label efficiency."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.errors import DataError, UserError
from ssltoolkit.evaluation.results import compare_results, read_result
from ssltoolkit.evaluation.statistics import Comparison
from ssltoolkit.report.collect import Results, heading, printed

PathLike = Union[str, Path]
Differences = Dict[Tuple[str, str, str], Comparison]


def spread(score: Dict[str, Any]) -> float:
    """Standard deviation over seeds (n - 1), 0 for one seed."""
    values = score["per_seed"]
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def cell(metric: str, score: Dict[str, Any]) -> str:
    """``mean ± spread [low, high]``."""
    low, high = score["ci95"]
    return f"{printed(metric, score['mean'])} ± {printed(metric, spread(score))} [{printed(metric, low)}, {printed(metric, high)}]"


def difference_cell(metric: str, found: Comparison) -> str:
    """``+difference [low, high], p``."""
    sign = "+" if found.difference >= 0 else "−"
    low, high = (printed(metric, value).replace("-", "−") for value in found.ci95)
    p = "p < 0.001" if found.p_value < 0.001 else f"p = {found.p_value:.3f}"
    return f"{sign}{printed(metric, abs(found.difference))} [{low}, {high}], {p}"


def score_rows(results: Results) -> List[List[str]]:
    """Heading row, then one row a model; ``–`` where nothing was measured; the best mean of a column in bold."""
    columns = results.columns()
    rows = [["model", *(f"{task}: {heading(metric)}" for task, metric in columns)]]
    best = {column: results.best(*column) for column in columns}
    for model in results.models:
        row = [model]
        for task, metric in columns:
            score = results.score(model, task, metric)
            text = "–" if score is None else cell(metric, score)
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


def difference_rows(results: Results, found: Differences) -> List[List[str]]:
    """Heading row, then one row a model that was compared."""
    columns = [column for column in results.columns() if any(key[1:] == column for key in found)]
    rows = [["model", *(f"{task}: {heading(metric)}" for task, metric in columns)]]
    for model in results.models:
        cells = [
            difference_cell(metric, found[model, task, metric]) if (model, task, metric) in found else "–"
            for task, metric in columns
        ]
        if any(text != "–" for text in cells):
            rows.append([model, *cells])
    return rows


def efficiency_rows(results: Results) -> List[List[str]]:
    """Heading row, then one row a model, task, metric and share of the labels; only a heading if there are none."""
    rows = [["model", "task", "metric", "share of training files", "score"]]
    for (model, task), result in sorted(results.table.items()):
        for fraction, scores in result.get("label_efficiency", {}).items():
            for metric, score in scores.items():
                rows.append([model, task, heading(metric), f"{100 * float(fraction):g} %", cell(metric, score)])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table; the first is the heading."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def plain(results: Results) -> str:
    """The scores for a terminal: one block a task, columns aligned."""
    blocks = []
    for task in results.tasks:
        metrics = [metric for name, metric in results.columns() if name == task]
        rows = [[task, *map(heading, metrics)]]
        for model in results.models:
            scores = [results.score(model, task, metric) for metric in metrics]
            rows.append([model, *("–" if s is None else cell(m, s) for m, s in zip(metrics, scores))])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        blocks.append("\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths)).rstrip() for row in rows))
    return "\n\n".join(blocks)


def _provenance(results: Results) -> List[str]:
    """One line a task and probe: data, sizes, seeds; then versions and commits, once each."""
    lines, versions = [], []
    for task in results.tasks:
        seen = []
        for model in results.models:
            result = results.table.get((model, task))
            if result is None:
                continue
            meta, probe = result["meta"], result["probe"]
            sizes = ", ".join(f"{count} {name}" for name, count in meta["utterances"].items())
            quick = ", quick" if probe["quick"] else ""
            text = (
                f"- {task} ({result['task']}): `{meta['data_dir']}`, {sizes} files, {meta['num_classes']} classes, "
                f"data {meta['data_hash'][:12]}, probe {probe['mode']}{quick}, seeds {', '.join(map(str, meta['seeds']))}"
            )
            if text not in seen:
                seen.append(text)
            stamp = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
            stamp = f"- Measured with {stamp}" + (f", commit {meta['commit']}" if meta["commit"] else "")
            if stamp not in versions:
                versions.append(stamp)
        lines += seen
    return lines + versions


def _commands(results: Results) -> List[str]:
    return [result["meta"]["command"] for _, result in sorted(results.table.items())]


def results_markdown(results: Results, reference: str, found: Differences, command: str) -> str:
    """The text of RESULTS.md."""
    parts = [
        "# Results",
        "Mean ± standard deviation over probe seeds [95 % bootstrap interval over files and seeds]. Per cent unless the "
        "heading says otherwise; ↓ lower is better; the best mean of a column is bold.",
        markdown(score_rows(results)),
    ]
    if found:
        parts += [
            f"## Difference to {reference}",
            "Model minus reference on the same files: difference [95 % paired bootstrap interval], two-sided p-value of "
            "a permutation test. Differences of per cent are percentage points.",
            markdown(difference_rows(results, found)),
        ]
    efficiency = efficiency_rows(results)
    if len(efficiency) > 1:
        parts += ["## Label efficiency", markdown(efficiency)]
    parts += ["## How it was measured", "\n".join(_provenance(results))]
    parts += ["Commands:", "```\n" + "\n".join([*_commands(results), command]) + "\n```"]
    return "\n\n".join(parts) + "\n"


def comparison_lines(path_a: PathLike, path_b: PathLike) -> List[str]:
    """What ``ssltoolkit evaluate --compare A B`` prints, one line a metric."""
    a, b = read_result(path_a), read_result(path_b)
    if a["task"] != b["task"]:
        raise DataError(f"{path_b}: a {b['task']} result cannot be compared with a {a['task']} result")
    found = compare_results(a, b)
    return [f"{a['model']} - {b['model']}", *(f"{m}: {difference_cell(m, one)}" for m, one in found.items())]
