"""Selection of an encoder's named outputs.

An encoder's embedding concatenates one or several named outputs (``Encoder.outputs``). Heads, scene pooling and frame
context select the outputs that they read with the same syntax. Only the encoder and the heads made for it know what an
output means."""

from __future__ import annotations

from typing import Dict, Iterable, List, Mapping, Sequence, Tuple, Union

import torch
from torch import Tensor

from ssltoolkit.errors import ConfigError
from ssltoolkit.registry import nearest

#: ``all``, or names; a name prefixed with ``-`` is excluded
Selection = Union[str, Sequence[str]]
ALL = "all"


def check_spelling(available: Mapping[str, int], names: Iterable[str], path: str) -> None:
    """Raise :class:`ConfigError` for a name that is nearly that of an output; other unknown names are accepted."""
    for name in names:
        if name not in available and nearest(name, available):
            raise ConfigError(
                f"{path}: the encoder has no output {name!r}{nearest(name, available)} (it has: {', '.join(available)})"
            )


def chosen_outputs(available: Mapping[str, int], selection: Selection, path: str) -> List[str]:
    """Names of the selected outputs, in the encoder's order.

    Args:
        available: the encoder's outputs, name -> number of columns.
        selection: ``all``; a list of names; or a list of names prefixed with ``-`` (all but these). An excluded output
            need not exist, so ``[-pitch_axis]`` works with every encoder.
        path: key path in the YAML, prefixed to every error.

    Raises:
        ConfigError: a selected output does not exist, or no output is left.

    Example:
        >>> chosen_outputs({"linear": 8, "pitch_axis": 4}, ["-pitch_axis"], "head.outputs")
        ['linear']
    """
    names = [selection] if isinstance(selection, str) else list(selection)
    left_out = [name[1:] for name in names if name.startswith("-")]
    named = [name for name in names if not name.startswith("-") and name != ALL]
    has = ", ".join(available)
    for name in named:
        if name not in available:
            raise ConfigError(f"{path}: the encoder has no output {name!r}{nearest(name, available)} (it has: {has})")
    check_spelling(available, left_out, path)
    chosen = [name for name in available if (not named or name in named) and name not in left_out]
    if not chosen:
        raise ConfigError(f"{path}: {selection!r} leaves none of the encoder's outputs ({has})")
    return chosen


def columns_of(outputs: Mapping[str, int]) -> Dict[str, Tuple[int, int]]:
    """(first, last + 1) column of every output in the embedding."""
    columns, start = {}, 0
    for name, size in outputs.items():
        columns[name] = (start, start + size)
        start += size
    return columns


def pool_scene(h: Tensor, pooling: str) -> Tensor:
    """Pool frames (B, T', D) over time to scenes: ``max``, ``mean`` or ``std`` give (B, D); several, such as
    ``max+mean``, are concatenated to (B, 2 D).
    """
    pools = {"max": lambda: h.amax(dim=1), "mean": lambda: h.mean(dim=1), "std": lambda: h.std(dim=1, correction=0)}
    return torch.cat([pools[part]() for part in pooling.split("+")], dim=-1)


class ViewFrames:
    """The encoder's frames of one view, by output. Concatenations and poolings are cached and shared by strategies.

    Args:
        outputs: name -> (B, T', columns).
    """

    def __init__(self, outputs: Mapping[str, Tensor]) -> None:
        self.outputs = dict(outputs)
        self._made: Dict[Tuple[Tuple[str, ...], str], Tensor] = {}

    def frames(self, names: Sequence[str]) -> Tensor:
        """These outputs concatenated, (B, T', D)."""
        return self._once(tuple(names), "")

    def pooled(self, names: Sequence[str], pooling: str) -> Tensor:
        """These outputs pooled over time, (B, D) per pooling in ``pooling`` (see :func:`pool_scene`)."""
        return self._once(tuple(names), pooling)

    def _once(self, names: Tuple[str, ...], pooling: str) -> Tensor:
        if (names, pooling) not in self._made:
            if pooling:
                made = pool_scene(self._once(names, ""), pooling)
            else:
                made = (
                    self.outputs[names[0]]
                    if len(names) == 1
                    else torch.cat([self.outputs[name] for name in names], dim=-1)
                )
            self._made[names, pooling] = made
        return self._made[names, pooling]
