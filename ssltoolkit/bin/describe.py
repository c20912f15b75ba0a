"""Print parameters, types, defaults and description of a component."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit describe", description=__doc__)
    options.add_argument("name", help="registered name, optionally kind.name; or training or embedding, a section")
    options.add_argument("--plugins", nargs="*", default=[], help="plugin files or modules to load first")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Print every component with this name."""
    args = parser().parse_args(argv)
    from ssltoolkit.errors import UserError
    from ssltoolkit.registry import KINDS, REGISTRY, nearest
    from ssltoolkit.settings import SECTIONS

    REGISTRY.load_entry_points()
    REGISTRY.load_plugins(args.plugins)
    kind, _, name = args.name.rpartition(".")
    found = [REGISTRY.component(k, name) for k in ([kind] if kind else KINDS) if name in REGISTRY.available(k)]
    if not found and args.name in SECTIONS:
        _print_section(args.name, SECTIONS[args.name])
        return command_line.EXIT_OK
    if not found:
        names = [n for k in KINDS for n in REGISTRY.available(k)]
        raise UserError(
            f"no component {args.name!r}{nearest(name, names)} (ssltoolkit components lists all); if it is your own, "
            f"give its file: ssltoolkit describe {args.name} --plugins FILE"
        )
    for component in found:
        print(f"{component.kind} {component.name}  ({component.file})\n\n{component.doc}\n")
        for parameter in component.parameters.values():
            if parameter.name in component.provided:
                continue
            default = "required" if parameter.required else f"default {parameter.default!r}"
            print(f"  {parameter.name}: {parameter.type_name}  ({default})")
        print()
    return command_line.EXIT_OK


def _print_section(name: str, settings: type) -> None:
    """Print the keys of a section of the configuration that is no component."""
    import dataclasses
    import inspect

    print(f"section {name}\n\n{inspect.getdoc(settings)}\n")
    for field in dataclasses.fields(settings):
        default = field.default_factory() if callable(field.default_factory) else field.default
        print(f"  {field.name}: {field.type}  (default {default!r})")


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
