"""Pre-train an encoder with the strategies of a configuration (stage 4)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List, Optional

from ssltoolkit.bin import _cli


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = _cli.Parser(prog="ssltoolkit pretrain", description=__doc__)
    options.add_argument("--config", required=True, help="YAML configuration")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override one key, e.g. optimizer.lr=1e-3; repeatable")
    options.add_argument("--train_dir", required=True, help="formatted data directory (stage 2) to train on")
    options.add_argument("--valid_dir", help="formatted data directory to validate on")
    options.add_argument("--stats", help="global log-mel statistics (stage 3), .npz")
    options.add_argument("--exp_dir", required=True, help="experiment folder: checkpoints, logs, resolved configuration")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Train, or continue, to the end; status 75 when a signal stopped a run that can be resumed."""
    args = parser().parse_args(argv)
    from ssltoolkit.config import load_config
    from ssltoolkit.training.run import pretrain
    from ssltoolkit.training.trainer import Interrupted

    config = load_config(args.config, args.overrides)
    exp_dir = Path(args.exp_dir)
    exp_dir.mkdir(parents=True, exist_ok=True)
    try:
        pretrain(config, exp_dir, args.train_dir, args.valid_dir, args.stats)
    except Interrupted as stop:
        print(f"stopped by {stop}; run the same command again to continue")
        return _cli.EXIT_RESUME
    return _cli.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(_cli.run(main))
