"""Probe frozen embeddings (clip, SED or pitch), or compare two results on the same files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List, Optional

from ssltoolkit import command_line
from ssltoolkit.errors import UserError


def numbers(kind: type):
    """Option type: comma-separated numbers, such as ``0,1,2``."""

    def parse(text: str) -> list:
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None

    return parse


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = command_line.Parser(prog="ssltoolkit evaluate", description=__doc__)
    add = parser.add_argument
    add("--task", choices=("clip", "sed", "pitch"), help="kind of task (from the metadata with --hear_task)")
    add("--embed_dir", help="embeddings: train/ valid/ test/, or fold1/ ... or a single folder for k-fold")
    add("--data_dir", help="labels: train/ valid/ test/ data directories, or one with utt2fold")
    add("--hear_task", help="labels: a HEAR task directory instead of --data_dir")
    add("--output", help="result file to write (.json; an .npz of per-file results goes beside it)")
    add("--model", help="model name in tables (default: name of the folder of --output)")
    add("--task_name", help="task name in tables (default: name of --output)")
    add("--probe_mode", choices=("standard", "hear", "linear", "knn"), default="standard", help="default: standard")
    add("--quick", type=command_line.str2bool, default=False, help="4 grid points, 256 hidden units, <= 60 epochs")
    add("--seeds", type=numbers(int), default=[0, 1, 2], help="probe seeds (default: 0,1,2)")
    add("--metrics", default="", help="comma-separated; the first chooses the probe (default: those of the task)")
    add("--label_kind", choices=("auto", "multiclass", "multilabel"), default="auto", help="clip labels")
    add("--label_fraction", type=numbers(float), default=[1.0], help="shares of the training files, such as 0.01,0.1,1")
    add("--median_filter_ms", type=numbers(float), help="SED post-processing grid (default: 250)")
    add("--min_duration_ms", type=numbers(float), help="SED post-processing grid (default: 125,250)")
    add("--class_thresholds", type=command_line.str2bool, default=False, help="SED: choose each class's threshold on valid")
    add("--psds", type=command_line.str2bool, default=False, help="SED: also PSDS 1 and 2 (needs sed_scores_eval)")
    add("--precision", choices=("auto", "float32", "bfloat16"), help="matrix products of the probe (default: auto)")
    add("--device", default="cpu", help="device that trains the probe (default: cpu)")
    add("--compare", nargs=2, metavar=("A.json", "B.json"), help="only compare two results, A minus B")
    return parser


def main(argv: Optional[List[str]] = None) -> int:
    """Entry point of ``ssltoolkit evaluate``."""
    args = get_parser().parse_args(argv)
    if args.compare:
        from ssltoolkit.report.tables import comparison_lines

        print("\n".join(comparison_lines(*args.compare)))
        return command_line.EXIT_OK
    for name in ("embed_dir", "output") if args.hear_task else ("task", "embed_dir", "data_dir", "output"):
        if not getattr(args, name):
            raise UserError(f"--{name} is required (or --compare A.json B.json)")
    if args.data_dir and args.hear_task:
        raise UserError("--data_dir and --hear_task exclude each other; give one")
    if any(not 0 < fraction <= 1 for fraction in args.label_fraction):
        raise UserError("--label_fraction: every share must lie in (0, 1]")
    if len(set(args.seeds)) != len(args.seeds) or min(args.seeds) < 0:
        raise UserError("--seeds: needs different whole numbers of at least 0")
    if Path(args.output).suffix != ".json":
        raise UserError(f"--output {args.output}: must end in .json")
    from ssltoolkit.evaluation import results
    from ssltoolkit.evaluation.program import evaluate

    args.command = results.command_line("evaluate", argv)
    for name, score in evaluate(args)["scores"].items():
        low, high = score["ci95"]
        print(f"{name} {score['mean']:.4f} (95 % {low:.4f} to {high:.4f}, {len(args.seeds)} seeds)")
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
