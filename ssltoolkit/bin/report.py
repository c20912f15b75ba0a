"""Write a results table, figures and a self-contained report.html."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of the program."""
    options = command_line.Parser(prog="ssltoolkit report", description=__doc__)
    add = options.add_argument
    add(
        "--results",
        required=True,
        nargs="+",
        help="folder with result files of ssltoolkit evaluate, searched recursively; several folders, one per "
        "pre-training seed, are merged",
    )
    add("--output", required=True, help="folder for RESULTS.md, report.html and pictures/")
    add("--exp_dirs", nargs="*", default=[], help="experiment folders with train_log.jsonl, for the training curves")
    add("--models", default="", help="comma-separated models and their order (default: all, by name)")
    add("--reference", default="", help="model that the others are compared with (default: the first)")
    add("--pictures", type=command_line.str2bool, default=True, help="write figures and report.html (default: true)")
    add("--plugins", nargs="*", default=[], metavar="FILE", help="plugin files or modules of the tasks")
    add("--config", help="YAML with plugins to load")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Entry point of ``ssltoolkit report``."""
    args = parser().parse_args(argv)
    from ssltoolkit.config import load_plugins
    from ssltoolkit.evaluation.results import command_line as command_of
    from ssltoolkit.stages.report import ReportOptions, report

    load_plugins(args.plugins, args.config)
    models = [name for name in args.models.split(",") if name]
    print(
        report(
            ReportOptions(
                args.results,
                args.output,
                args.exp_dirs,
                models,
                args.reference,
                args.pictures,
                command_of("report", argv),
            )
        )
    )
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
