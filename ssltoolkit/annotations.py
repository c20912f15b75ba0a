"""Parameters of constructors, and checking of YAML values against their type annotations."""

from __future__ import annotations

import collections.abc
import inspect
import typing
from dataclasses import dataclass
from typing import Any, Dict, Union

import typeguard

from ssltoolkit.errors import ConfigError


@dataclass
class Parameter:
    """One constructor parameter of a component."""

    name: str
    type: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def type_name(self) -> str:
        return type_name(self.type)


def parameters_of(factory: Any, what: str) -> Dict[str, Parameter]:
    """Constructor parameters of a class, or parameters of a function.

    Args:
        what: kind and name of the component, for messages.

    Raises:
        ConfigError: a parameter without a type annotation, or one that takes any keyword.
    """
    function = factory.__init__ if inspect.isclass(factory) else factory
    if function is object.__init__ or getattr(function, "__module__", "").startswith("torch."):
        return {}  # it does not define a constructor
    hints = typing.get_type_hints(function)
    found: Dict[str, Parameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise ConfigError(f"{what} takes *{name}, which would swallow a misspelt key; name its parameters")
        if name not in hints:
            raise ConfigError(f"{what}: parameter {name!r} needs a type annotation")
        found[name] = Parameter(name, hints[name], parameter.default)
    return found


def type_name(annotation: Any) -> str:
    """Readable name of a type: ``float``, ``Sequence[Transform]``, ``Optional[int]``."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is inspect.Parameter.empty:
        return "Any"
    if origin is None:
        return "None" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
    if origin is typing.Literal:
        return " | ".join(map(repr, parts))
    if origin is Union:
        kept = [type_name(part) for part in parts if part is not type(None)]
        text = " | ".join(kept)
        return f"Optional[{text}]" if len(kept) < len(parts) else text
    inner = ", ".join("..." if part is Ellipsis else type_name(part) for part in parts)
    return f"{getattr(origin, '__name__', str(origin)).capitalize()}[{inner}]"


def checked(value: Any, annotation: Any, path: str) -> Any:
    """Return ``value`` if it matches ``annotation`` (lists become tuples if annotated so), else raise ConfigError."""
    if annotation is inspect.Parameter.empty or annotation is Any:
        return value
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError(f"{path}: {value!r} does not fit into a 64-bit integer")
    candidates = [value, tuple(value)] if isinstance(value, list) else [value]
    for candidate in candidates if _bools_fit(value, annotation) else ():
        try:
            typeguard.check_type(
                candidate, annotation, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS
            )
            return candidate
        except typeguard.TypeCheckError:
            continue
    raise ConfigError(f"{path}: expected {type_name(annotation)}, got {value!r} ({type(value).__name__})")


def holds_several(annotation: Any) -> bool:
    """Whether a parameter accepts a list, such as ``Sequence[X]`` or ``Optional[Sequence[X]]``."""
    origin = typing.get_origin(annotation)
    if origin is Union:
        return any(map(holds_several, typing.get_args(annotation)))
    return inspect.isclass(origin) and issubclass(origin, collections.abc.Iterable)


def _bools_fit(value: Any, annotation: Any) -> bool:
    """Whether every bool in ``value`` is annotated as one: Python accepts bools as ints, YAML values should not be."""
    if isinstance(value, (list, tuple)):
        return all(_bools_fit(part, annotation) for part in value)
    if not isinstance(value, bool):
        return True
    return (
        annotation in (bool, Any)
        or value is annotation
        or any(_bools_fit(value, part) for part in typing.get_args(annotation))
    )
