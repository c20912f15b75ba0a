"""The report stage: collect results, write RESULTS.md, figures and report.html."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from ssltoolkit.errors import kind_of, method_name, plugin_error, show_traceback
from ssltoolkit.evaluation.results import load_arrays
from ssltoolkit.evaluation.task import task_of
from ssltoolkit.report import tables
from ssltoolkit.report.collect import Results, collect
from ssltoolkit.report.merge import merge_folders


@dataclass(frozen=True)
class ReportOptions:
    """Options of ``ssltoolkit report``.

    Attributes:
        results: folders with result files; several folders, one per pre-training seed, are merged. output: folder to
            write.
        exp_dirs: experiment folders, for the training curves. models: rows and their order; empty: all, by name.
        reference: model that the others are compared with; empty: the first. pictures: whether to draw figures.
        command: the command line, to record in the report.
    """

    results: Sequence[str]
    output: str
    exp_dirs: Sequence[str] = ()
    models: Sequence[str] = ()
    reference: str = ""
    pictures: bool = True
    command: str = ""


def report(options: ReportOptions) -> str:
    """Run ``ssltoolkit report``; return the table for the terminal."""
    source = (
        options.results[0]
        if len(options.results) == 1
        else merge_folders(options.results, Path(options.output) / "results")
    )
    results = collect(source, options.models)
    reference = options.reference or results.models[0]
    found = tables.differences(results, reference)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    text = tables.results_markdown(results, reference, found, options.command)
    (output / "RESULTS.md").write_text(text, encoding="utf-8")
    if options.pictures:
        page = _page(results, reference, found, options)
        (output / "report.html").write_text(page, encoding="utf-8")
    return tables.plain(results)


def _page(results: Results, reference: str, found: tables.Differences, options: ReportOptions) -> str:
    # Import here: matplotlib takes a second to load, and tables do not need it.
    from ssltoolkit.report.html import Page
    from ssltoolkit.report.plots_scores import label_efficiency, score_bars
    from ssltoolkit.report.plots_training import training_curves

    folder, page = Path(options.output) / "pictures", Page("Results")
    page.section("Scores")
    page.text(tables.SCORES_TEXT)
    page.table(tables.summary_rows(results))
    pictures = score_bars(results, folder) + label_efficiency(results, folder)
    for task in results.tasks:
        page.section(task)
        page.table(tables.score_rows(results, task))
        rows = tables.difference_rows(results, found, task)
        if len(rows) > 1:
            page.text(f"Difference to {reference}. {tables.DIFFERENCES_TEXT}")
            page.table(rows)
        for picture in task_pictures(results, task, folder):
            page.picture(picture)
    page.section("All scores as pictures")
    for picture in pictures:
        page.picture(picture)
    if options.exp_dirs:
        page.section("Training")
        for picture in training_curves(options.exp_dirs, folder):
            page.picture(picture)
    page.section("How it was measured")
    page.code("\n".join([*tables.provenance(results), "", *tables.commands(results), options.command]))
    return page.render()


def task_pictures(results: Results, task: str, folder: Path) -> list:
    """Pictures of the task's best model by its first metric.

    If a plugin's ``pictures`` fails, print a warning and return no pictures: the report is useful without them.
    """
    metric = next(name for found, name in results.columns() if found == task)
    result = results.table[results.best(task, metric), task]
    plugin, arrays = task_of(result), load_arrays(result)
    try:
        pictures = plugin.pictures(result, arrays, folder)
    except Exception as error:
        told = plugin_error(error, f"task {plugin.registered_name!r}")
        if told is None:
            raise
        show_traceback()
        print(f"warning: {told}; the report lacks these pictures", file=sys.stderr)
        return []
    if isinstance(pictures, list) and all(hasattr(picture, "caption") for picture in pictures):
        return pictures
    print(
        f"warning: task {plugin.registered_name!r}: {method_name(plugin, 'pictures')} returned {kind_of(pictures)}; "
        "return a list of Picture; the report lacks these pictures",
        file=sys.stderr,
    )
    return []
