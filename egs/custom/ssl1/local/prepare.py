"""Write data directories for a user's audio and label lists."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import List, Optional

from ssltoolkit import command_line
from ssltoolkit.config import load_plugins
from ssltoolkit.data.lists import write_task
from ssltoolkit.data.scan import write_pool
from ssltoolkit.errors import ConfigError
from ssltoolkit.registry import REGISTRY


def check_task(task: str, config: str) -> None:
    """Raise an error for a task that no plugin of the configuration defines."""
    try:
        REGISTRY.component("task", task)
    except ConfigError as error:
        hint = f"name its plugin file under plugins: in {config or 'a configuration'}, the last of --train_configs"
        raise ConfigError(f"--eval_task: {error}; {hint}") from None


def main(argv: Optional[List[str]] = None) -> int:
    """Write tasks first, so that their test files are excluded from pre-training."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--audio_dir", required=True, help="folder of audio, searched recursively")
    options.add_argument("--out_dir", required=True, type=Path)
    options.add_argument(
        "--valid_share", type=float, default=0.05, help="share of the files for validation of pre-training"
    )
    options.add_argument("--seed", type=int, default=0, help="seed for drawing validation files")
    for kind in ("clip", "sed", "pitch"):
        options.add_argument(f"--eval_{kind}", default="", help=f"list of the {kind} task, see README.md")
    options.add_argument("--eval_task", default="", help="TASK:LIST, list of a plugin's task")
    options.add_argument("--config", default="", help="YAML with the plugin of that task")
    args = options.parse_args(argv)
    lists = [(kind, getattr(args, f"eval_{kind}")) for kind in ("clip", "sed", "pitch")]
    if args.eval_task:
        load_plugins((), args.config)
        task, source = args.eval_task.split(":", 1)
        check_task(task, args.config)
        lists.append((task, source))
    tests: List[Path] = []
    for kind, source in lists:
        if source:
            tests += write_task(source, kind, args.out_dir / kind)
    counts = write_pool(args.audio_dir, args.out_dir, tests, args.valid_share, args.seed)
    print(
        f"{counts['pretrain']} files to pre-train on, {counts['pretrain_valid']} to validate, {counts['excluded']} "
        "left out (test files)"
    )
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
