"""Check the labels of evaluation tasks before pre-training: label files, every value, and classes that only test files
have."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def task_and_folder(text: str) -> List[str]:
    """Option type: ``TASK:FOLDER``."""
    task, _, folder = text.partition(":")
    if not task or not folder:
        raise argparse.ArgumentTypeError(f"expected TASK:FOLDER, such as clip:data/esc50, got {text!r}")
    return [task, folder]


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit check-labels", description=__doc__)
    options.add_argument(
        "tasks",
        nargs="+",
        type=task_and_folder,
        metavar="TASK:FOLDER",
        help="registered task, and the folder with its train/ valid/ test/ data directories or utt2fold",
    )
    options.add_argument(
        "--plugins", nargs="*", default=[], metavar="FILE", help="plugin files or modules to load first"
    )
    options.add_argument("--config", help="YAML with plugins to load first")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Check every task; status 2 if the labels of any are wrong."""
    args = parser().parse_args(argv)
    import sys

    from ssltoolkit.config import load_plugins
    from ssltoolkit.errors import UserError
    from ssltoolkit.stages.check_labels import check_labels

    load_plugins(args.plugins, args.config)
    wrong = 0
    for task, folder in args.tasks:
        try:
            print(check_labels(task, folder))
        except UserError as error:
            command_line.show_traceback()
            print(f"ssltoolkit check-labels: error: {error}", file=sys.stderr)
            wrong += 1
    return command_line.EXIT_USAGE if wrong else command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
