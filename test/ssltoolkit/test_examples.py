"""Examples in docstrings: YAML of every component is accepted by the registry, and Python runs."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

import ssltoolkit
from ssltoolkit.config import parse_yaml
from ssltoolkit.registry import KINDS, REGISTRY

KINDS_OF_YAML = [kind for kind in KINDS if kind != "task"]  # a task is named on the command line
COMPONENTS = [
    (kind, name)
    for kind in KINDS_OF_YAML
    for name in REGISTRY.available(kind)
    if not REGISTRY.component(kind, name).plugin
]


@pytest.mark.parametrize("kind, name", COMPONENTS, ids=[".".join(pair) for pair in COMPONENTS])
def test_the_example_of_a_component(kind, name):
    found = re.search(r"^Example:\n    ``(.*)``$", REGISTRY.component(kind, name).doc, re.MULTILINE)
    assert found, f"the docstring of {kind} {name} has no example"
    example = parse_yaml(found.group(1), f"{kind} {name}")
    spec = example[0] if isinstance(example, list) else example[kind]
    assert spec["name"] == name
    if kind == "head":  # the configuration selects outputs, not the head
        spec.pop("outputs", None)
    assert set(spec) <= set(REGISTRY.resolve(kind, spec))


PACKAGE = Path(ssltoolkit.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_python_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some examples write a file
    assert not doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch}).failed
