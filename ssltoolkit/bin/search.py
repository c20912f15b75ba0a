"""Find the sounds of an explored folder that are most similar to a recording; with --frames, similar half seconds."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit search", description=__doc__)
    options.add_argument("query", help="audio file")
    options.add_argument("--index", required=True, help="output folder of ssltoolkit explore")
    options.add_argument("-k", type=command_line.positive_int, default=20, help="number of sounds to list (default 20)")
    options.add_argument("--frames", action="store_true", help="compare half-second windows instead of whole sounds")
    options.add_argument("--model", default="", help="new path of the index's model, if it has moved")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Print the table."""
    args = parser().parse_args(argv)
    from ssltoolkit.explore import search
    from ssltoolkit.explore.collect import load_arrays
    from ssltoolkit.explore.index import load_index

    index = load_index(args.index)
    model = load_arrays(args.model or str(index.meta["model"]))
    search.check_model(index, model)
    find = search.search_windows if args.frames else search.search_sounds
    print(search.table(find(index, model, args.query, args.k), args.frames))
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
