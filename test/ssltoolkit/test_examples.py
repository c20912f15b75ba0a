"""Every component's docstring has an example in YAML that the registry accepts."""

import re

import pytest

from ssltoolkit.config import parse_yaml
from ssltoolkit.registry import KINDS, REGISTRY

COMPONENTS = [(kind, name) for kind in KINDS for name in REGISTRY.available(kind) if not REGISTRY.component(kind, name).plugin]


@pytest.mark.parametrize("kind, name", COMPONENTS, ids=[".".join(pair) for pair in COMPONENTS])
def test_the_example_of_a_component(kind, name):
    found = re.search(r"^Example:\n    ``(.*)``$", REGISTRY.component(kind, name).doc, re.MULTILINE)
    assert found, f"the docstring of {kind} {name} has no example"
    example = parse_yaml(found.group(1), f"{kind} {name}")
    spec = example[0] if isinstance(example, list) else example[kind]
    assert spec["name"] == name
    if kind == "head":  # which outputs a head reads is the configuration's
        spec.pop("outputs", None)
    assert set(spec) <= set(REGISTRY.resolve(kind, spec))
