"""The order of rooms in docs/architecture.md: no room imports a higher one, and no imports are circular."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "ssltoolkit"

# (importing module, imported module) -> reason for an import against the order. All are inside functions.
EXCEPTIONS: Dict[Tuple[str, str], str] = {
    ("ssltoolkit", "ssltoolkit.embedding"): "ssltoolkit.FrozenModel is a public name that is imported on first use",
    ("ssltoolkit.embedding.loading", "ssltoolkit.peers"): "load_frozen reads peer:NAME",
}


class Import(NamedTuple):
    """One import of one module of the package by another; ``local`` if it is inside a function."""

    importer: str
    imported: str
    line: int
    local: bool


def modules() -> Dict[str, Path]:
    """Path of every module of the package, by dotted name."""
    found = {}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, known: Dict[str, Path]) -> Iterator[Import]:
    """Imports of the package's own modules; ``from package import module`` counts as the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(child) for function in functions for child in ast.walk(function)}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
        else:
            continue
        for target in dict.fromkeys(targets):
            if target == PACKAGE or target.startswith(f"{PACKAGE}."):
                yield Import(name, target, node.lineno, id(node) in inside)


def rooms_in_order() -> List[str]:
    """Return the names of the rooms, lowest first, from the first column of the table in docs/architecture.md."""
    table = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith(f"| `{PACKAGE}/")]
    return [Path(name).stem for row in rows for name in re.findall(r"`(?:ssltoolkit/)?([a-z_]+(?:/|\.py))`", row)]


def room(module: str) -> str:
    """Return the room of a module: a folder or a file of the package; the package itself holds the version."""
    return module.split(".")[1] if "." in module else module


KNOWN = modules()
IMPORTS = [one for name, path in sorted(KNOWN.items()) for one in imports_of(name, path, KNOWN)]
ORDER = [PACKAGE, *rooms_in_order()]


def test_every_room_stands_once_in_the_table():
    assert sorted(ORDER) == sorted({room(name) for name in KNOWN})


def test_no_import_goes_up():
    against = [
        f"{one.importer}:{one.line} imports {one.imported}"
        for one in IMPORTS
        if ORDER.index(room(one.imported)) > ORDER.index(room(one.importer))
        and (one.importer, one.imported) not in EXCEPTIONS
    ]
    assert against == []


def test_no_import_goes_round():
    graph: Dict[str, Set[str]] = {name: set() for name in KNOWN}
    for one in IMPORTS:
        own_package = one.importer.startswith(f"{one.imported}.")  # its __init__ imports the public names
        if (one.importer, one.imported) not in EXCEPTIONS and not own_package:
            graph[one.importer].add(one.imported)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("pair", EXCEPTIONS, ids=" -> ".join)
def test_an_exception_is_needed_and_inside_a_function(pair):
    found = [one for one in IMPORTS if (one.importer, one.imported) == pair]
    assert found and all(one.local for one in found)
