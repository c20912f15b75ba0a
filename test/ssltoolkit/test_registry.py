"""registry.py: registration, lookup, checked building; errors name the place, what was expected and similar names."""

from __future__ import annotations

from typing import List, Literal, Optional, Sequence, Tuple

import pytest

from ssltoolkit.annotations import type_name
from ssltoolkit.errors import ConfigError, ParameterError
from ssltoolkit.registry import REGISTRY, Registry


class Brush:
    """Base class of a kind of component."""


@pytest.fixture
def registry():
    own = Registry({"brush": "ssltoolkit.report", "paint": "ssltoolkit.report"})
    own.base("brush")(Brush)

    @own.register("brush", "flat")
    class Flat(Brush):
        """A flat brush."""

        def __init__(self, width: int, hair: float = 0.5, kind: Literal["oil", "water"] = "oil") -> None:
            if width > 100:
                raise ParameterError("width", f"must be at most 100, got {width}")
            self.width, self.hair, self.kind = width, hair, kind

    @own.register("brush", "round")
    class Round(Brush):
        def __init__(self, tip: Optional[float] = None, span: Tuple[float, float] = (0.0, 1.0)) -> None:
            self.tip, self.span = tip, span

    @own.register("paint", "set", provided=("canvas",))
    def paint(canvas: str, brushes: Sequence[Brush] = (), main: Optional[Brush] = None) -> tuple:
        """A set of brushes."""
        return canvas, list(brushes), main

    return own


def message(call, *arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **keywords)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_builds_from_mapping_and_from_name(registry):
    flat = registry.build("brush", {"name": "flat", "width": 3, "hair": 1})
    assert (flat.width, flat.hair, flat.kind, flat.registered_name) == (3, 1, "oil", "flat")
    assert registry.build("brush", "round").span == (0.0, 1.0)
    assert registry.available("brush") == ["flat", "round"]


def test_builds_nested_components_and_passes_provided(registry):
    spec = {"name": "set", "brushes": ["round", {"name": "flat", "width": 2}], "main": {"name": "round", "tip": 0.1}}
    canvas, brushes, main = registry.build("paint", spec, canvas="linen", other="ignored")
    assert (canvas, brushes[1].width, main.tip) == ("linen", 2, 0.1)


@pytest.mark.parametrize(
    "spec, parts",
    [
        ({"name": "flta", "width": 1}, ["art.name: ", "no brush 'flta'", "did you mean 'flat'?", "known: flat, round"]),
        ({"name": 3}, ["art.name: ", "no brush 3", "known: flat, round"]),
        ({"width": 1}, ["art.name: missing", "expected {name: <brush>", "flat, round"]),
        (None, ["art.name: missing", "flat, round"]),
        (
            {"name": "flat", "widht": 1},
            ["art.widht: ", "no parameter 'widht'", "did you mean 'width'?", "width, hair, kind"],
        ),
        ({"name": "flat"}, ["art.width: missing", "'flat' needs it (int)"]),
        ({"name": "flat", "width": "3"}, ["art.width: expected int, got '3' (str)"]),
        ({"name": "flat", "width": 2.5}, ["art.width: expected int, got 2.5 (float)"]),
        ({"name": "flat", "width": True}, ["art.width: expected int, got True (bool)"]),
        ({"name": "flat", "width": 1, "hair": False}, ["art.hair: expected float, got False (bool)"]),
        ({"name": "flat", "width": 1, "kind": "mud"}, ["art.kind: expected 'oil' | 'water', got 'mud'"]),
        ({"name": "flat", "width": None}, ["art.width: expected int, got None"]),
        ({"name": "flat", "width": 101}, ["art.width: must be at most 100, got 101"]),
        ({"name": "round", "tip": True}, ["art.tip: expected Optional[float], got True (bool)"]),
        ({"name": "round", "span": [0.0]}, ["art.span: expected Tuple[float, float], got [0.0] (list)"]),
        ({"name": "round", "span": [True, False]}, ["art.span: expected Tuple[float, float], got [True, False]"]),
    ],
)
def test_build_errors(registry, spec, parts):
    text = message(registry.build, "brush", spec, "art")
    assert all(part in text for part in parts), text


@pytest.mark.parametrize(
    "spec, parts",
    [
        ({"brushes": ["round", "flatt"]}, ["a.b.brushes[1].name: ", "did you mean 'flat'?"]),
        ({"brushes": [{"name": "flat", "width": 1, "hiar": 2}]}, ["a.b.brushes[0].hiar: ", "did you mean 'hair'?"]),
        ({"main": {"name": "flat", "width": []}}, ["a.b.main.width: expected int, got []"]),
        ({"canvas": "mine"}, ["a.b.canvas: ", "no parameter 'canvas'"]),
    ],
)
@pytest.mark.parametrize("method", ["build", "check", "resolve"])
def test_nested_errors_name_the_whole_path(registry, method, spec, parts):
    text = message(getattr(registry, method), "paint", {"name": "set", **spec}, "a.b")
    assert all(part in text for part in parts), text


def test_unknown_kind(registry):
    assert "did you mean 'brush'?" in message(registry.available, "brsh")
    assert "known: brush, paint" in message(registry.register, "sponge", "x")
    assert "no kind" in message(registry.base, "sponge")


def test_duplicate_name_is_refused_and_names_the_owner(registry):
    def flat(width: int) -> Brush:
        return Brush()

    text = message(registry.register("brush", "flat"), flat)
    assert "'flat'" in text and __file__ in text and "choose another name" in text


def test_a_name_in_another_kind_is_free(registry):
    registry.register("paint", "flat")(lambda: None)
    assert "flat" in registry.available("paint")


def test_constructors_that_cannot_be_checked_are_refused(registry):
    def swallowing(width: int, **rest: int) -> Brush:
        return Brush()

    def untyped(width) -> Brush:
        return Brush()

    assert "*rest, which would swallow a misspelt key" in message(registry.register("brush", "a"), swallowing)
    assert "'width' needs a type annotation" in message(registry.register("brush", "b"), untyped)
    assert registry.available("brush") == ["flat", "round"]


def test_resolve_writes_every_default_and_is_idempotent(registry):
    spec = {"name": "set", "brushes": [{"name": "flat", "width": 2}, "round"]}
    once = registry.resolve("paint", spec, "p")
    assert once == {
        "name": "set",
        "brushes": [
            {"name": "flat", "width": 2, "hair": 0.5, "kind": "oil"},
            {"name": "round", "tip": None, "span": [0.0, 1.0]},
        ],
        "main": None,
    }
    assert registry.resolve("paint", once, "p") == once


def test_component_says_what_it_is(registry):
    flat = registry.component("brush", "flat")
    assert (flat.summary, flat.file) == ("A flat brush.", __file__)
    assert [p.required for p in flat.parameters.values()] == [True, False, False]
    assert flat.parameters["kind"].type_name == "'oil' | 'water'"
    assert type_name(Optional[List[int]]) == "Optional[List[int]]"


@pytest.mark.parametrize(
    "kind", ["frontend", "encoder", "sampler", "transform", "similarity", "loss", "head", "optimizer", "scheduler"]
)
def test_built_in_components_have_a_summary_and_typed_parameters(kind):
    components = [REGISTRY.component(kind, name) for name in REGISTRY.available(kind)]
    built_in = [component for component in components if not component.plugin]
    assert built_in
    for component in built_in:
        assert component.summary.endswith((".", ")")), component.name
        assert all(p.type_name != "Any" for p in component.parameters.values() if p.name not in component.provided), (
            component.name
        )


def test_what_is_declared_as_provided_must_be_a_parameter_and_be_passed(registry):
    def paint(canvas: str, frame: str) -> str:
        return canvas + frame

    said = message(registry.register("paint", "wrong", provided=("canvvas",)), paint)
    assert "declares 'canvvas' as provided but has no such parameter; did you mean 'canvas'?" in said
    registry.register("paint", "framed", provided=("canvas", "frame"))(paint)
    assert registry.build("paint", "framed", canvas="a", frame="b") == "ab"
    said = message(registry.build, "paint", "framed", "art", canvas="a")
    assert said.startswith("art: 'framed' declares 'frame' as provided, but the toolkit passes only canvas to a paint")
