"""Named components: registration, plugins and checked building from YAML.

A component is a class (or a function returning an object) registered under a *kind* and a name::

    @register("sampler", "clip")
    class ClipSampler(Sampler): ...

and is built from ``{name: clip, <constructor keywords>}``. A constructor parameter annotated with the base class of a
kind (``transform: Transform``, ``augment: Sequence[Transform]``) is itself built from such a mapping.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
import traceback
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from ssltoolkit.annotations import Parameter, checked, holds_several, parameters_of
from ssltoolkit.errors import PLUGIN_FILES, ConfigError, ParameterError, plugin_errors, plugin_line

#: kind -> package whose modules register the built-in components of that kind
KINDS = {
    "frontend": "ssltoolkit.frontends",
    "encoder": "ssltoolkit.encoders",
    "sampler": "ssltoolkit.samplers",
    "transform": "ssltoolkit.transforms",
    "similarity": "ssltoolkit.losses",
    "loss": "ssltoolkit.losses",
    "head": "ssltoolkit.heads",
    "optimizer": "ssltoolkit.training",
    "scheduler": "ssltoolkit.training",
    "task": "ssltoolkit.tasks",
}
ENTRY_POINT_GROUP = "ssltoolkit.plugins"


@dataclass
class Component:
    """A registered class or factory."""

    kind: str
    name: str
    factory: Any
    provided: Sequence[str] = ()
    file: str = ""
    plugin: bool = False
    parameters: Dict[str, Parameter] = field(default_factory=dict)

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.factory) or ""

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join(self.doc.split("\n\n")[0].split())


def nearest(name: str, names: Iterable[str]) -> str:
    """`` ; did you mean 'x'?`` when something registered is close to ``name``, else an empty string."""
    near = difflib.get_close_matches(str(name), list(names), 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


class Registry:
    """All components by kind and name."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._packages = dict(kinds)
        self._components: Dict[str, Dict[str, Component]] = {kind: {} for kind in kinds}
        self._bases: Dict[type, str] = {}
        self._imported: set = set()
        self._plugins: Dict[str, str] = {}
        self._loading: Optional[str] = None

    def base(self, kind: str) -> Callable[[type], type]:
        """Class decorator: instances of this class are the components of ``kind``."""
        self._check_kind(kind)

        def decorate(cls: type) -> type:
            self._bases[cls] = kind
            return cls

        return decorate

    def register(self, kind: str, name: str, provided: Sequence[str] = ()) -> Callable[[Any], Any]:
        """Decorator that registers a class or factory.

        Args:
            kind: one of :data:`KINDS`.
            name: the YAML name.
            provided: constructor parameters that the toolkit passes itself, never the YAML
                (``embed_dim`` of a head, for instance).

        Raises:
            ConfigError: unknown kind, a name already taken (names the module that has it), a constructor
                parameter without a type annotation or with ``**kwargs``.

        Example::

            @register("loss", "my_loss")
            class MyLoss(Loss):
                def __init__(self, margin: float = 0.2) -> None: ...
        """
        self._check_kind(kind)

        def decorate(factory: Any) -> Any:
            # Toolkit modules that a plugin imports may register components while the plugin loads.
            own = str(getattr(factory, "__module__", "")).startswith(f"{__package__}.")
            plugin = self._loading is not None and not own
            where = _source_file(factory)
            if plugin:
                self._import_builtin(kind)  # so that a plugin cannot take a built-in name
                if not factory.__module__.startswith("torch."):  # a plugin may register a class of PyTorch
                    PLUGIN_FILES.add(where)
            known = self._components[kind].get(name)
            # The same definition twice means that a file was read twice, not that there are two components.
            if known is not None and (known.file, known.factory.__qualname__) != (where, factory.__qualname__):
                raise ConfigError(
                    f"{kind} {name!r} of {where} is already registered by {known.file}; choose another name"
                )
            base = next((cls for cls, of_kind in self._bases.items() if of_kind == kind), None)
            if plugin and inspect.isclass(factory) and base and not issubclass(factory, base):
                raise ConfigError(
                    f"{kind} {name!r} of {where}: {factory.__name__} must derive from {base.__name__}; "
                    f"write class {factory.__name__}({base.__name__})"
                )
            component = Component(kind, name, factory, tuple(provided), where, plugin)
            component.parameters = parameters_of(factory, f"{kind} {name!r}")
            for lacking in set(component.provided) - set(component.parameters):
                raise ConfigError(
                    f"{kind} {name!r} of {where} declares {lacking!r} as provided but has no such "
                    f"parameter{nearest(lacking, component.parameters)}"
                )
            self._components[kind][name] = component
            if inspect.isclass(factory):
                factory.registered_name = name  # type: ignore[attr-defined]
            return factory

        return decorate

    def available(self, kind: str) -> List[str]:
        """Sorted names registered for ``kind``."""
        self._import_builtin(kind)
        return sorted(self._components[kind])

    def component(self, kind: str, name: Any, path: str = "") -> Component:
        """Look up one component; the error suggests the nearest known name."""
        names = self.available(kind)
        if not isinstance(name, str) or name not in self._components[kind]:
            option = path.startswith("--")  # given on a command line, not in a configuration
            where = path and (f"{path}: " if option else f"{path}.name: ")
            place = "give its file: --plugins FILE" if option else "list its file under plugins: in the configuration"
            raise ConfigError(
                f"{where}no {kind} {name!r}{nearest(name, names)} (known: {', '.join(names) or 'none'})"
                f"{path and '; if it is your own, ' + place}"
            )
        return self._components[kind][name]

    def build(self, kind: str, spec: Any, path: str = "", **provided: Any) -> Any:
        """Build one component from ``{name: ..., <keywords>}`` (or just its name).

        Args:
            kind: the kind of component.
            spec: a mapping with ``name``, or a name.
            path: key path in the YAML, prefixed to every error.
            provided: values the toolkit passes; those the component declares as ``provided`` are used.

        Raises:
            ConfigError: unknown name or key, wrong type, missing key, value out of range.

        Example:
            >>> REGISTRY.build("similarity", {"name": "cosine", "temperature": 0.1}).temperature
            0.1
        """
        path = path or kind
        component, given = self._split(kind, spec, path)
        arguments = self._arguments(component, given, path)
        for name in component.provided:
            if name in provided:
                arguments[name] = provided[name]
            elif component.parameters[name].required:
                given = f"only {', '.join(provided)}" if provided else "nothing"
                raise ConfigError(
                    f"{path}: {component.name!r} declares {name!r} as provided, but the toolkit passes {given} to a "
                    f"{kind}; give it a default"
                )
        if inspect.isabstract(component.factory):
            lacking = ", ".join(f"{method}()" for method in sorted(component.factory.__abstractmethods__))
            raise ConfigError(
                f"{path}: {kind} {component.name!r} ({component.file}) has no {lacking}; write it into "
                f"{component.factory.__name__}"
            )
        with plugin_errors(path):
            try:
                return component.factory(**arguments)
            except ParameterError as error:
                raise ConfigError(f"{path}.{error.parameter}: {error.message}") from None

    def check(self, kind: str, spec: Any, path: str = "") -> None:
        """Check names, keys and types of ``spec`` without building it."""
        component, given = self._split(kind, spec, path or kind)
        self._arguments(component, given, path or kind)

    def resolve(self, kind: str, spec: Any, path: str = "") -> Dict[str, Any]:
        """``spec`` with every default written out, as saved with a checkpoint."""
        component, given = self._split(kind, spec, path or kind)
        self._arguments(component, given, path or kind)
        resolved: Dict[str, Any] = {"name": component.name}
        for name, parameter in component.parameters.items():
            if name in component.provided:
                continue
            value = given.get(name, parameter.default)
            nested = self._nested_kind(parameter.type)
            if nested and name in given and value is not None:
                many = isinstance(value, (list, tuple))
                parts = [self.resolve(nested, part, f"{path}.{name}") for part in (value if many else [value])]
                value = parts if many else parts[0]
            resolved[name] = _plain(value)
        return resolved

    def load_plugins(self, plugins: Sequence[str], base_dir: Union[str, Path] = ".", path: str = "plugins") -> None:
        """Import plugin files (``*.py``, relative to ``base_dir`` or the working directory) or modules.

        Raises:
            ConfigError: not found (with the places searched) or failing to import (with file, line and reason).
        """
        for index, plugin in enumerate(plugins):
            where = f"{path}[{index}]"
            if not isinstance(plugin, str) or not plugin:
                raise ConfigError(f"{where}: expected a file or module name, got {plugin!r}")
            if plugin.endswith(".py") or "/" in plugin:
                self._import_file(plugin, Path(base_dir), where)
            else:
                self._import_plugin(plugin, functools.partial(_import_module, plugin), where)

    def load_entry_points(self) -> None:
        """Import every installed package's ``ssltoolkit.plugins`` entry points."""
        found = importlib.metadata.entry_points()
        points = found.select(group=ENTRY_POINT_GROUP) if hasattr(found, "select") else found.get(ENTRY_POINT_GROUP, ())
        for point in points:
            self._import_plugin(f"{ENTRY_POINT_GROUP}:{point.name}", point.load, f"entry point {point.name}")

    def _check_kind(self, kind: str) -> None:
        if kind not in self._components:
            raise ConfigError(
                f"no kind of component {kind!r}{nearest(kind, self._components)} (known: {', '.join(self._components)})"
            )

    def _import_builtin(self, kind: str) -> None:
        """Import every module of the kind's package, so that a new file there is enough to add a component."""
        self._check_kind(kind)
        package_name = self._packages[kind]
        if package_name in self._imported:
            return
        self._imported.add(package_name)
        loading, self._loading = self._loading, None
        try:
            package = importlib.import_module(package_name)
            for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
                importlib.import_module(f"{package_name}.{module.name}")
        finally:
            self._loading = loading

    def _import_file(self, plugin: str, base_dir: Path, where: str) -> None:
        candidates = [base_dir / plugin, Path(plugin)]
        file = next((found.resolve() for found in candidates if found.is_file()), None)
        if file is None:
            searched = ", ".join(dict.fromkeys(str(found.absolute()) for found in candidates))
            raise ConfigError(
                f"{where}: no plugin file {plugin!r} (searched: {searched}); give a path relative to the YAML file"
            )
        name = f"ssltoolkit_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"

        def load() -> None:
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None  # its name ends in .py
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise

        self._import_plugin(str(file), load, where)

    def _import_plugin(self, key: str, load: Callable[[], Any], where: str) -> None:
        if key in self._plugins:
            return
        self._loading = key
        if key.endswith(".py"):
            PLUGIN_FILES.add(key)
        try:
            load()
        except ConfigError as error:
            raise ConfigError(f"{where}: plugin {key!r}: {error}") from None
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            last = next((f"{f.filename}:{f.lineno}" for f in reversed(frames) if "importlib" not in f.filename), key)
            line = plugin_line(error) or last  # an exception of a module that is not a file has no plugin's line
            if isinstance(error, SyntaxError):
                line = f"{error.filename}:{error.lineno}"
            raise ConfigError(
                f"{where}: plugin {key!r} failed to import at {line}: {type(error).__name__}: {error}"
            ) from None
        finally:
            self._loading = None
        self._plugins[key] = where

    def _split(self, kind: str, spec: Any, path: str):
        if isinstance(spec, str):
            spec = {"name": spec}
        if not isinstance(spec, Mapping) or "name" not in spec:
            raise ConfigError(
                f"{path}.name: missing; expected {{name: <{kind}>, ...}} with one of: {', '.join(self.available(kind))}"
            )
        return self.component(kind, spec["name"], path), {key: value for key, value in spec.items() if key != "name"}

    def _arguments(self, component: Component, given: Mapping[str, Any], path: str) -> Dict[str, Any]:
        settable = {name: p for name, p in component.parameters.items() if name not in component.provided}
        for key in given:
            if key not in settable:
                raise ConfigError(
                    f"{path}.{key}: {component.kind} {component.name!r} has no parameter {key!r}"
                    f"{nearest(key, settable)} (parameters: {', '.join(settable) or 'none'})"
                )
        for name, parameter in settable.items():
            if parameter.required and name not in given:
                raise ConfigError(f"{path}.{name}: missing; {component.name!r} needs it ({parameter.type_name})")
        return {key: self._value(settable[key], value, f"{path}.{key}") for key, value in given.items()}

    def _value(self, parameter: Parameter, value: Any, path: str) -> Any:
        nested = self._nested_kind(parameter.type)
        if nested and value is not None:
            if holds_several(parameter.type):
                if not isinstance(value, (list, tuple)):
                    raise ConfigError(f"{path}: expected a list of components ({nested}), got {value!r}")
                return [self.build(nested, part, f"{path}[{index}]") for index, part in enumerate(value)]
            return self.build(nested, value, path)
        return checked(value, parameter.type, path)

    def _nested_kind(self, annotation: Any) -> Optional[str]:
        """The kind whose base class ``annotation`` is, or holds (``Optional[X]``, ``Sequence[X]``)."""
        if inspect.isclass(annotation) and annotation in self._bases:
            return self._bases[annotation]
        return next((kind for part in typing.get_args(annotation) for kind in [self._nested_kind(part)] if kind), None)


def _import_module(name: str) -> None:
    """Import a plugin that is named as a module."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the plugin exists, but one of its own imports does not
        raise ConfigError(
            f"no such module is installed; install its package or, if it is a file, write its extension: {name}.py"
        ) from None


def _plain(value: Any) -> Any:
    """Tuples as lists, so that a resolved config is plain YAML."""
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _source_file(factory: Any) -> str:
    try:
        return inspect.getsourcefile(inspect.unwrap(factory)) or factory.__module__
    except TypeError:
        return factory.__module__


REGISTRY = Registry(KINDS)
register, build, available = REGISTRY.register, REGISTRY.build, REGISTRY.available
