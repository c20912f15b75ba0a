"""The report stage: collect results, write RESULTS.md, pictures and report.html."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List

from ssltoolkit.evaluation.event_metrics import EVENT_METRICS
from ssltoolkit.evaluation.results import load_arrays
from ssltoolkit.report import tables
from ssltoolkit.report.collect import Results, collect
from ssltoolkit.report.merge import merge_folders


def report(args: argparse.Namespace) -> str:
    """Run ``ssltoolkit report`` with parsed options; return the table for the terminal."""
    source = args.results[0] if len(args.results) == 1 else merge_folders(args.results, Path(args.output) / "results")
    results = collect(source, [name for name in args.models.split(",") if name])
    reference = args.reference or results.models[0]
    found = tables.differences(results, reference)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    text = tables.results_markdown(results, reference, found, args.command)
    (output / "RESULTS.md").write_text(text, encoding="utf-8")
    if args.pictures:
        page = _page(results, reference, found, args)
        (output / "report.html").write_text(page, encoding="utf-8")
    return tables.plain(results)


def _page(results: Results, reference: str, found: tables.Differences, args: argparse.Namespace) -> str:
    # matplotlib takes a second to load, and tables do not need it.
    from ssltoolkit.report.html import Page
    from ssltoolkit.report.plots_scores import label_efficiency, score_bars
    from ssltoolkit.report.plots_training import training_curves

    folder, page = Path(args.output) / "pictures", Page("Results")
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
    if args.exp_dirs:
        page.section("Training")
        for picture in training_curves(args.exp_dirs, folder):
            page.picture(picture)
    page.section("How it was measured")
    page.code("\n".join([*tables.provenance(results), "", *tables.commands(results), args.command]))
    return page.render()


def task_pictures(results: Results, task: str, folder: Path) -> List:
    """Pictures of the task's best model by its first metric."""
    from ssltoolkit.report import plots_confusion, plots_embeddings, plots_sed

    metric = next(name for found, name in results.columns() if found == task)
    result = results.table[results.best(task, metric), task]
    arrays = load_arrays(result)
    if result["task"] == "sed":
        pictures = plots_sed.timelines(result, arrays, folder)
        event_metric = next((name for name in result["scores"] if name in EVENT_METRICS), None)
        if event_metric:
            pictures += plots_embeddings.self_similarity(result, arrays, event_metric, folder)
        return pictures
    pictures = plots_embeddings.scene_map(result, arrays, folder)
    if arrays["targets"].ndim == 1:
        draw = plots_confusion.pitch_confusion if result["task"] == "pitch" else plots_confusion.clip_confusion
        pictures = draw(result, arrays, folder) + pictures
    return pictures
