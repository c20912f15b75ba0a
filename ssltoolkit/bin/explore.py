"""Make an HTML page that shows and plays a folder of sounds: map, neighbours, near-duplicates, outliers, clusters."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit explore", description=__doc__)
    options.add_argument("--audio_dir", required=True, help="folder of audio, searched recursively")
    options.add_argument(
        "-o",
        "--output",
        required=True,
        help="folder to write: index.html, assets, data, and index for ssltoolkit search; cache can be deleted",
    )
    options.add_argument(
        "--model",
        default="shipped",
        help="model name as in ssltoolkit embed (default: the model shipped with the package)",
    )
    options.add_argument("--labels", default="", help="tab-separated list with the columns path and label, for colours")
    options.add_argument(
        "--map", choices=["umap", "tsne", "pca"], default="umap", help="layout of the map (default umap)"
    )
    options.add_argument("--seed", type=int, default=0, help="seed of the map")
    options.add_argument("--nj", type=int, default=0, help="number of processes (default: one per CPU)")
    options.add_argument(
        "--copy",
        type=command_line.str2bool,
        default=False,
        nargs="?",
        const=True,
        help="copy the audio next to the page, so that the folder can be moved",
    )
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Explore one folder."""
    args = parser().parse_args(argv)
    from ssltoolkit.errors import UserError
    from ssltoolkit.explore.program import explore

    if args.nj < 0:
        raise UserError(f"--nj {args.nj}: must be at least 0")
    explore(args.audio_dir, args.output, args.model, args.labels, args.map, args.seed, args.nj, args.copy)
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
