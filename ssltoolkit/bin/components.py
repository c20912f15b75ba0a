"""List every registered component, including plugins."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit components", description=__doc__)
    options.add_argument("--plugins", nargs="*", default=[], help="plugin files or modules to load first")
    options.add_argument("--kind", help="list only this kind")
    options.add_argument("--markdown", action="store_true", help="print a Markdown table")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Print kind, name, origin and summary of each component."""
    args = parser().parse_args(argv)
    from ssltoolkit.errors import UserError
    from ssltoolkit.registry import KINDS, REGISTRY, nearest

    REGISTRY.load_entry_points()
    REGISTRY.load_plugins(args.plugins)
    if args.kind and args.kind not in KINDS:
        raise UserError(f"--kind {args.kind}: no such kind{nearest(args.kind, KINDS)} (known: {', '.join(KINDS)})")
    rows = [
        REGISTRY.component(kind, name)
        for kind in ([args.kind] if args.kind else KINDS)
        for name in REGISTRY.available(kind)
    ]
    if args.markdown:
        print("| kind | name | what |\n|---|---|---|")
    for row in rows:
        origin = f" [plugin: {row.file}]" if row.plugin else ""
        if args.markdown:
            print(f"| {row.kind} | `{row.name}` | {row.summary}{origin} |")
        else:
            print(f"{row.kind:<11} {row.name:<22} {row.summary}{origin}")
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
