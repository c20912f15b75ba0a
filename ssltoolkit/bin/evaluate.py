"""Train a probe on frozen embeddings for a task (clip, SED, pitch or a plugin's), or compare two results."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import List, Optional

from ssltoolkit import command_line

#: options that are parameters of a task
TASK_OPTIONS = ("label_kind", "median_filter_ms", "min_duration_ms", "class_thresholds", "psds")


def numbers(kind: type):
    """Option type: comma-separated numbers, such as ``0,1,2``."""

    def parse(text: str) -> list:
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None

    return parse


def parser() -> argparse.ArgumentParser:
    """Options of the program."""
    options = command_line.Parser(prog="ssltoolkit evaluate", description=__doc__)
    add = options.add_argument
    add(
        "--task",
        default="",
        help="kind of task: clip, sed, pitch or a plugin's task (with --hear_task taken from the metadata)",
    )
    add("--plugins", nargs="*", default=[], metavar="FILE", help="plugin files or modules to load first")
    add("--config", help="YAML with plugins to load first")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="extra",
        help="set a parameter of the task (see ssltoolkit describe task.NAME); repeatable",
    )
    add("--embed_dir", default="", help="embeddings: train/ valid/ test/, or fold1/ ... or a single folder for k-fold")
    add("--data_dir", default="", help="labels: train/ valid/ test/ data directories, or one with utt2fold")
    add("--hear_task", default="", help="labels: a HEAR task directory, instead of --data_dir")
    add("--output", default="", help="result file to write (.json; per-file results are written to .npz)")
    add("--model", default="", help="model name in tables (default: name of the folder of --output)")
    add("--task_name", default="", help="task name in tables (default: name of --output)")
    add("--probe_mode", choices=("standard", "hear", "linear", "knn"), default="standard", help="default: standard")
    add("--quick", type=command_line.str2bool, default=False, help="4 grid points, 256 hidden units, <= 60 epochs")
    add("--seeds", type=numbers(int), default=[0, 1, 2], help="probe seeds (default: 0,1,2)")
    add("--metrics", default="", help="comma-separated; the first selects the probe (default: the task's metrics)")
    add("--label_kind", choices=("auto", "multiclass", "multilabel"), help="clip labels (default: auto)")
    add("--label_fraction", type=numbers(float), default=[1.0], help="shares of the training files, such as 0.01,0.1,1")
    add("--median_filter_ms", type=numbers(float), help="SED post-processing grid (default: 250)")
    add("--min_duration_ms", type=numbers(float), help="SED post-processing grid (default: 125,250)")
    add("--class_thresholds", type=command_line.str2bool, help="SED: tune each class's threshold on valid")
    add("--psds", type=command_line.str2bool, help="SED: also PSDS 1 and 2 (needs sed_scores_eval)")
    add(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="",
        help="precision of the probe's matrix products (default: auto)",
    )
    add("--device", default="cpu", help="device that trains the probe (default: cpu)")
    add("--compare", nargs=2, metavar=("A.json", "B.json"), help="only compare two results, A minus B")
    return options


def options_of(args: argparse.Namespace, command: str):
    """Convert parsed arguments to the options of the stage."""
    from ssltoolkit.config import parse_settings
    from ssltoolkit.stages.evaluate import EvaluateOptions

    given = {name: getattr(args, name) for name in TASK_OPTIONS if getattr(args, name) is not None}
    names = {one.name for one in fields(EvaluateOptions)}
    shared = {name: value for name, value in vars(args).items() if name in names}
    shared["metrics"] = [name for name in args.metrics.split(",") if name]
    return EvaluateOptions(**{**shared, "options": given, "extra": parse_settings(args.extra), "command": command})


def main(argv: Optional[List[str]] = None) -> int:
    """Entry point of ``ssltoolkit evaluate``."""
    args = parser().parse_args(argv)
    from ssltoolkit.config import load_plugins

    load_plugins(args.plugins, args.config)
    if args.compare:
        from ssltoolkit.report.tables import comparison_lines

        print("\n".join(comparison_lines(*args.compare)))
        return command_line.EXIT_OK
    from ssltoolkit.evaluation.results import command_line as command_of
    from ssltoolkit.stages.evaluate import evaluate

    options = options_of(args, command_of("evaluate", argv))
    options.check()
    for name, score in evaluate(options)["scores"].items():
        low, high = score["ci95"]
        print(f"{name} {score['mean']:.4f} (95 % {low:.4f} to {high:.4f}, {len(args.seeds)} seeds)")
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
