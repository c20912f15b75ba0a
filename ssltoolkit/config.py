"""Configuration files: safe YAML, ``include:``, overrides, checking and saving.

An included file is the base; the including file's keys win. Mappings merge key by key, with two exceptions: a component
with another ``name`` replaces the base's component whole (the old keywords would not fit), and ``null`` removes a key.
"""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Sequence, Tuple, Union

import yaml

from ssltoolkit.errors import ConfigError, DataError
from ssltoolkit.registry import REGISTRY, nearest
from ssltoolkit.settings import EmbeddingSettings, TrainingSettings, settings_from
from ssltoolkit.text import read_text

PathLike = Union[str, Path]

#: key -> whether a configuration must have it
SECTIONS = {
    "plugins": False,
    "frontend": True,
    "encoder": True,
    "embedding": False,
    "strategies": True,
    "optimizer": True,
    "scheduler": False,
    "training": True,
}
STRATEGY_KEYS = {"weight": False, "sampler": True, "head": True, "loss": True}
NESTED_IN_STRATEGY = ("sampler", "head", "loss")


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads ``1e-4`` as a number (YAML 1.1 alone would not)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                problem = (
                    "YAML merge keys ('<<') are not supported; write the keys out, "
                    "or put them in a file and name it under include:"
                )
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is not text; quote it", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$|^[-+]?[0-9]+\.[0-9]*$|^[-+]?\.[0-9]+$|^[-+]?\.inf$|^\.nan$"
    ),
    list("-+0123456789."),
)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML text safely.

    Raises:
        ConfigError: invalid YAML, names ``where`` and the line.
    """
    try:
        return yaml.load(text, _Loader)  # _Loader is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise ConfigError(f"{where}{line}: not valid YAML: {problem}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from None


def merge(base: Any, changes: Any) -> Any:
    """``base`` overlaid with ``changes`` (rules at the top of this file); neither is modified.

    Example:
        >>> merge({"training": {"seed": 0, "max_steps": 100}}, {"training": {"max_steps": 5}})
        {'training': {'seed': 0, 'max_steps': 5}}
    """
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return copy.deepcopy(changes)
    if "name" in changes and changes["name"] != base.get("name", changes["name"]):
        return copy.deepcopy(dict(changes))
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def read_config(path: PathLike, _including: Tuple[Path, ...] = ()) -> Dict[str, Any]:
    """Read a YAML file and everything it includes; plugin files become absolute paths.

    Raises:
        ConfigError: missing or invalid file, circular include, not a mapping.
    """
    # Includes are relative to a symbolic link, not to its target, so that recipes can share a configuration.
    path = Path(os.path.abspath(path))
    if path in _including:
        raise ConfigError(f"{path}: includes itself ({' -> '.join(p.name for p in _including + (path,))})")
    try:
        text = read_text(path)
    except DataError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        from_file = f" (included by {_including[-1]})" if _including else ""
        raise ConfigError(f"{path}: cannot read this configuration{from_file}: {error}; check the path") from None
    own = parse_yaml(text, str(path))
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(own).__name__}")
    plugins, includes = own.get("plugins") or [], own.pop("include", None) or []
    includes = [includes] if isinstance(includes, str) else includes
    for key, value in (("plugins", plugins), ("include", includes)):
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise ConfigError(f"{path}: {key}: expected a list of file names, got {value!r}")
    own["plugins"] = [_plugin_path(plugin, path.parent) for plugin in plugins]
    merged: Dict[str, Any] = {}
    for name in includes:
        base = read_config(path.parent / name, _including + (path,))
        own["plugins"] = base.pop("plugins", []) + own["plugins"]
        merged = merge(merged, base)
    return merge(merged, own)


def _plugin_path(plugin: Any, folder: Path) -> Any:
    """Make a plugin path that is relative to its YAML absolute; module names stay."""
    if isinstance(plugin, str) and (plugin.endswith(".py") or "/" in plugin) and (folder / plugin).is_file():
        return str((folder / plugin).resolve())
    return plugin


def apply_overrides(config: Mapping[str, Any], overrides: Iterable[str]) -> Dict[str, Any]:
    """Apply ``a.b=c`` overrides (the value is YAML; ``null`` removes the key).

    Raises:
        ConfigError: not of that form, or a parent key is not a mapping.

    Example:
        >>> apply_overrides({"optimizer": {"name": "adam"}}, ["optimizer.lr=1e-3"])
        {'optimizer': {'name': 'adam', 'lr': 0.001}}
    """
    config = copy.deepcopy(dict(config))
    for override in overrides:
        key_path, separator, text = override.partition("=")
        keys = key_path.strip().split(".")
        if not separator or not all(keys):
            raise ConfigError(f"--set {override}: expected key.path=value, for example optimizer.lr=1e-3")
        change: Any = parse_yaml(text, f"--set {key_path}")
        for depth in range(len(keys) - 1, -1, -1):
            change = {keys[depth]: change}
        node: Any = config
        for depth, key in enumerate(keys[:-1]):
            node = node.get(key, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set {override}: {'.'.join(keys[: depth + 1])} is not a mapping")
        config = merge(config, change)
    return dict(config)


def load_config(path: PathLike, overrides: Sequence[str] = ()) -> Dict[str, Any]:
    """Read, override, load plugins, check and resolve a configuration (every default written out).

    Raises:
        ConfigError: the first error found; names the key path.
    """
    return resolve_config(apply_overrides(read_config(path), overrides), Path(path).parent)


def load_plugins(files: Sequence[str], config: Union[PathLike, None] = None) -> None:
    """Load installed plugin packages, plugin files or modules, and the ``plugins:`` of a configuration.

    Raises:
        ConfigError: a plugin is missing or cannot be imported.
    """
    REGISTRY.load_entry_points()
    REGISTRY.load_plugins(files, path="--plugins")
    if config:
        REGISTRY.load_plugins(read_config(config)["plugins"], Path(config).parent)


def parse_settings(settings: Iterable[str]) -> Dict[str, Any]:
    """``KEY=VALUE`` texts as a mapping; values are YAML.

    Raises:
        ConfigError: not of that form.
    """
    return apply_overrides({}, settings)


def resolve_config(config: Mapping[str, Any], base_dir: PathLike = ".") -> Dict[str, Any]:
    """Check a configuration against the constructors and write out all defaults; resolving twice changes nothing."""
    _check_keys(config, SECTIONS, "")
    REGISTRY.load_entry_points()
    plugins = config.get("plugins") or []
    if not isinstance(plugins, list):
        raise ConfigError(f"plugins: expected a list of files or modules, got {plugins!r}")
    REGISTRY.load_plugins(plugins, base_dir)
    resolved: Dict[str, Any] = {"plugins": list(plugins)}
    for kind in ("frontend", "encoder"):
        resolved[kind] = REGISTRY.resolve(kind, config[kind], kind)
    resolved["embedding"] = settings_from(EmbeddingSettings, config.get("embedding") or {}, "embedding").as_dict()
    resolved["strategies"] = _resolve_strategies(config["strategies"])
    resolved["optimizer"] = REGISTRY.resolve("optimizer", config["optimizer"], "optimizer")
    resolved["scheduler"] = REGISTRY.resolve("scheduler", config.get("scheduler") or "constant", "scheduler")
    resolved["training"] = settings_from(TrainingSettings, config["training"], "training").as_dict()
    return resolved


def _resolve_strategies(strategies: Any) -> Dict[str, Any]:
    if not isinstance(strategies, Mapping) or not strategies:
        raise ConfigError("strategies: expected at least one 'name: {weight, sampler, head, loss}'")
    resolved: Dict[str, Any] = {}
    for name, spec in strategies.items():
        path = f"strategies.{name}"
        if not isinstance(spec, Mapping):
            raise ConfigError(f"{path}: expected {{weight, sampler, head, loss}}, got {spec!r}")
        _check_keys(spec, STRATEGY_KEYS, path + ".")
        weight = spec.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise ConfigError(f"{path}.weight: expected a number of at least 0, got {weight!r}")
        resolved[name] = {"weight": float(weight)}
        for kind in NESTED_IN_STRATEGY:
            resolved[name][kind] = (
                _resolve_head(spec[kind], f"{path}.head")
                if kind == "head"
                else REGISTRY.resolve(kind, spec[kind], f"{path}.{kind}")
            )
    return resolved


def _resolve_head(spec: Any, path: str) -> Dict[str, Any]:
    """Resolve a head's keywords and ``outputs``, the encoder outputs that it reads."""
    if not isinstance(spec, Mapping):
        return {**REGISTRY.resolve("head", spec, path), "outputs": None}
    given = {key: value for key, value in spec.items() if key != "outputs"}
    former = given.pop("pitch_axis", None) if given.get("name") == "projection" else None
    outputs = spec.get("outputs")
    if former is not None:  # the key's name before encoders had named outputs
        if former not in ("learn", "ignore"):
            raise ConfigError(
                f"{path}.pitch_axis: expected 'learn' or 'ignore', got {former!r}; write outputs: all or outputs: "
                "[-pitch_axis]"
            )
        outputs = outputs or (["-pitch_axis"] if former == "ignore" else "all")
    names = [outputs] if isinstance(outputs, str) else outputs
    if names is not None and not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise ConfigError(
            f"{path}.outputs: expected 'all' or a list of the encoder's outputs, such as [-pitch_axis], got {outputs!r}"
        )
    return {**REGISTRY.resolve("head", given, path), "outputs": outputs}


def _check_keys(mapping: Mapping[str, Any], known: Mapping[str, bool], prefix: str) -> None:
    for key in mapping:
        if key not in known:
            raise ConfigError(f"{prefix}{key}: nothing reads this key{nearest(key, known)} (known: {', '.join(known)})")
    for key, required in known.items():
        if required and mapping.get(key) is None:
            raise ConfigError(f"{prefix}{key}: missing")


def dump_config(config: Mapping[str, Any]) -> str:
    """A configuration as YAML text, keys in their order."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=120)


def save_config(config: Mapping[str, Any], path: PathLike) -> None:
    """Write a configuration as YAML, atomically."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(dump_config(config), encoding="utf-8")
    temporary.replace(path)
