"""Convert audio of any format and rate to archives of 16 kHz mono waves (stage 2)."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit format", description=__doc__)
    options.add_argument(
        "--data_dir", required=True, help="Kaldi-style directory: wav.scp, optionally segments and label tables"
    )
    options.add_argument("--out_dir", required=True, help="formatted directory to write")
    options.add_argument("--sample_rate", type=command_line.positive_int, default=16000, help="Hz (default 16000)")
    options.add_argument("--nj", type=command_line.positive_int, default=1, help="number of jobs that share the work")
    options.add_argument("--job", type=int, help="run only this job (1 ... nj); default: all jobs, then merge")
    options.add_argument("--merge", type=command_line.str2bool, default=False, help="only merge finished shards")
    options.add_argument(
        "--max_bad",
        type=command_line.share,
        default=0.01,
        help="tolerated share of unusable files (at least one; default 0.01)",
    )
    options.add_argument(
        "--allow_pipes",
        type=command_line.str2bool,
        default=False,
        help="run entries of wav.scp that are commands (default false)",
    )
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Format one directory, or one job's share of it."""
    args = parser().parse_args(argv)
    from ssltoolkit.stages.format import FormatOptions, format_audio

    options = FormatOptions(
        args.data_dir, args.out_dir, args.sample_rate, args.nj, args.job, args.merge, args.max_bad, args.allow_pipes
    )
    count = format_audio(options)
    if count is not None:
        print(f"{args.out_dir}: {count} utterances at {args.sample_rate} Hz")
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
