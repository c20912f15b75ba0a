"""The report stage: collect results, write RESULTS.md, pictures and report.html."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssltoolkit.evaluation.results import command_line
from ssltoolkit.report import tables
from ssltoolkit.report.collect import collect


def report(args: argparse.Namespace) -> str:
    """Run ``ssltoolkit report`` with parsed options; return the table for the terminal."""
    results = collect(args.results, [name for name in args.models.split(",") if name])
    reference = args.reference or results.models[0]
    found = tables.differences(results, reference)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    text = tables.results_markdown(results, reference, found, command_line())
    (output / "RESULTS.md").write_text(text, encoding="utf-8")
    return tables.plain(results)
