"""Check this machine, the installation and data directories; every problem is printed with its fix."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit doctor", description=__doc__)
    options.add_argument("data_dirs", nargs="*", help="data directories to check too")
    options.add_argument(
        "--recipe",
        nargs="+",
        default=[],
        help="recipes (egs/<name>/ssl1) whose data directories and experiments to check",
    )
    options.add_argument("--exp_dir", default=".", help="folder for experiments (default: working directory)")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Print every finding; status 2 if something is bad."""
    args = parser().parse_args(argv)
    from ssltoolkit import doctor

    findings = [*doctor.environment(), *doctor.torch_and_gpus(), *doctor.machine(Path(args.exp_dir))]
    findings += map(doctor.data_directory, args.data_dirs)
    for folder in args.recipe:
        findings += doctor.recipe(Path(folder))
    for finding in findings:
        print(f"{finding.state:<5}{finding.what}" + (f"  ->  {finding.fix}" if finding.fix else ""))
    return command_line.EXIT_USAGE if any(finding.state == doctor.BAD for finding in findings) else command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
