"""Pre-train an encoder with the strategies of a configuration (stage 4)."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit pretrain", description=__doc__)
    options.add_argument("--config", required=True, help="YAML configuration")
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override one key, e.g. optimizer.lr=1e-3; repeatable",
    )
    options.add_argument("--train_dir", required=True, help="formatted data directory (stage 2) to train on")
    options.add_argument("--valid_dir", help="formatted data directory to validate on")
    options.add_argument("--stats", help="global log-mel statistics (stage 3), .npz")
    options.add_argument(
        "--exp_dir", required=True, help="experiment folder: checkpoints, logs, resolved configuration"
    )
    options.add_argument(
        "--ngpu",
        type=command_line.positive_int,
        default=1,
        help="processes per machine, each with its own GPU if there are GPUs (default 1)",
    )
    options.add_argument(
        "--num_nodes", type=command_line.positive_int, default=1, help="number of machines (default 1)"
    )
    options.add_argument(
        "--max_restarts",
        type=int,
        default=0,
        help="with several processes: number of restarts after a failure (default 0)",
    )
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Train, or continue, to the end; status 75 if a signal stopped the run and it can be resumed."""
    args = parser().parse_args(argv)
    if "RANK" not in os.environ and args.ngpu * args.num_nodes > 1:
        return _launch(args, ["pretrain", *(sys.argv[1:] if argv is None else argv)])
    return _train(args)


def _launch(args: argparse.Namespace, command: List[str]) -> int:
    from ssltoolkit.config import load_config
    from ssltoolkit.distributed.launch import launch
    from ssltoolkit.training.devices import check_gpus

    # Check before launching, so that errors common to all processes are reported once.
    check_gpus(load_config(args.config, args.overrides)["training"]["device"], args.ngpu)
    return launch(
        ["-m", "ssltoolkit.bin.main", *command], args.ngpu, args.num_nodes, args.max_restarts, command_line.EXIT_RESUME
    )


def _train(args: argparse.Namespace) -> int:
    from ssltoolkit.config import load_config
    from ssltoolkit.distributed.collectives import LostPeer, ReportedByRankZero
    from ssltoolkit.signals import Interrupted
    from ssltoolkit.stages.pretrain import pretrain

    config = load_config(args.config, args.overrides)
    exp_dir = Path(args.exp_dir)
    exp_dir.mkdir(parents=True, exist_ok=True)
    try:
        pretrain(config, exp_dir, args.train_dir, args.valid_dir, args.stats)
    except Interrupted as stop:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"stopped by {stop}; run the same command again to continue")
        return command_line.EXIT_RESUME
    except ReportedByRankZero:
        return command_line.EXIT_USAGE
    except LostPeer as lost:
        print(f"ssltoolkit pretrain: {lost}", file=sys.stderr)
        return command_line.EXIT_FAULT
    if int(os.environ.get("RANK", "0")) == 0 and config["embedding"]["whiten"]:
        from ssltoolkit.stages.whiten import whiten_checkpoint

        whiten_checkpoint(exp_dir / "best.pt", args.train_dir)
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
