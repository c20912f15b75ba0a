"""Start-up time: ``ssltoolkit --help``, and a run of one training step from launch to its end.

The reference for ``--help`` is a program that imports all modules for training before parsing its arguments.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, alternate, parse, parser, seconds, write_row
from material import write_archive

MINI = ROOT / "egs" / "mini" / "ssl1" / "conf" / "multi_strategy.yaml"


def call(*arguments: object) -> None:
    """Run Python with these arguments."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def first_step(folder: Path, corpus: Path) -> None:
    """Run the mini recipe's pre-training for one step."""
    exp = folder / "exp"
    shutil.rmtree(exp, ignore_errors=True)
    call(
        "-m",
        "ssltoolkit.bin.main",
        "pretrain",
        "--config",
        MINI,
        "--train_dir",
        corpus,
        "--exp_dir",
        exp,
        "--set",
        "training.max_steps=1",
    )


def main() -> None:
    """Write one row for each."""
    options = parser(__doc__, clips=(256, 128))
    options.add_argument("--only", choices=["help", "step"], help="run only this one")
    args = parse(options)
    if args.only != "step":
        times = alternate(
            lambda: call("-m", "ssltoolkit.bin.main", "--help"),
            lambda: call("-c", "import torch, numba, ssltoolkit.stages.pretrain"),
            args.repeats,
        )
        write_row(args, "ssltoolkit --help, against importing first what training needs", times)
    if args.only != "help":
        with tempfile.TemporaryDirectory() as temporary:
            corpus = write_archive(Path(temporary) / "corpus", args.clips, 2.0)
            times = [
                seconds(lambda: first_step(Path(temporary), corpus)) for _ in range(1 if args.quick else args.repeats)
            ]
        write_row(
            args,
            "launch of the mini recipe's pre-training to the end of its first step, checkpoint written",
            {"ours": times},
        )


if __name__ == "__main__":
    main()
