"""Compute log-mel features and their global statistics from wave archives (stage 3)."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit features", description=__doc__)
    options.add_argument("--config", required=True, help="YAML configuration with the frontend")
    options.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override one key; repeatable"
    )
    options.add_argument("--data_dir", required=True, help="formatted directory (stage 2)")
    options.add_argument("--out_dir", required=True, help="output folder of feats.scp and stats.npz")
    options.add_argument(
        "--compression", default="none", choices=["none", "speech", "uint16", "uint8"], help="archive format"
    )
    options.add_argument("--nj", type=command_line.positive_int, default=1, help="number of jobs that share the work")
    options.add_argument("--job", type=int, help="run only this job (1 ... nj); default: all jobs, then merge")
    options.add_argument("--merge", type=command_line.str2bool, default=False, help="only merge finished shards")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Compute features of one directory, or one job's share of them."""
    args = parser().parse_args(argv)
    from ssltoolkit.stages.features import FeatureOptions, write_features

    options = FeatureOptions(
        args.config, args.data_dir, args.out_dir, args.overrides, args.compression, args.nj, args.job, args.merge
    )
    sums = write_features(options)
    if sums is not None:
        print(f"{args.out_dir}: {sums.count} frames of {len(sums.total)} bands, mean {sums.mean_std()[0].mean():.3f}")
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
