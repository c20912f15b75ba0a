"""Check of a sampler's comparison against the head outputs that it compares.

Only types, shapes and dtypes are read, never values, so that no step waits for the device.
"""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.errors import kind_of
from ssltoolkit.samplers.base import BlockPairs, DensePairs, DifferenceTargets, IndexPairs

#: dtype of a field, None for any floating-point one -> how to convert a tensor to it
_CONVERSIONS = {None: ".float()", torch.bool: ".bool()", torch.int64: ".long()"}


class _Field(NamedTuple):
    """A field of a comparison, its possible shapes, its dtype (None: any floating-point one), and whether it may be
    None.
    """

    name: str
    shapes: Sequence[Tuple[int, ...]]
    dtype: Optional[torch.dtype]
    optional: bool = False


def comparison_fault(comparison: Any, returns: type, outputs: Mapping[str, Tensor]) -> Optional[str]:
    """Describe what is wrong with a sampler's comparison, or return None.

    Args:
        comparison: what its ``compare`` returned.
        returns: the class that the sampler declares.
        outputs: role -> head output, (B, D) or (B, T', D).
    """
    if comparison is None:
        return f"returned None; end it with return {returns.__name__}(...)"
    if not isinstance(comparison, returns):
        given = type(comparison).__name__
        return f"returned {given}, but the class declares {returns.__name__}; return that, or write returns = {given}"
    roles = _roles(comparison)
    unknown = [role for role in roles if role not in outputs]
    if unknown:
        return f"names the view {unknown[0]!r}, it asks for: {', '.join(outputs)}; name one of these"
    framed = all(outputs[role].dim() == 3 for role in roles)
    if isinstance(comparison, DensePairs):
        if comparison.within not in ("batch", "clip"):
            return f"returned within={comparison.within!r}; write 'batch' or 'clip'"
        if comparison.within == "clip" and not framed:
            return "returned within='clip', which compares the frames of a clip; write level = \"frame\" into the class"
        rows, columns = _sizes(comparison, outputs)
        if isinstance(comparison, BlockPairs) and comparison.total != columns:
            return f"returned total={comparison.total}, but {comparison.columns!r} has {columns} columns; correct it"
        return _first_fault(comparison, _of_pairs(comparison, rows, columns, len(outputs[comparison.rows])))
    if isinstance(comparison, IndexPairs):
        if not framed:
            return 'returned IndexPairs, which compare frames; write level = "frame" into the class'
        return _first_fault(comparison, _of_indices(comparison))
    if isinstance(comparison, DifferenceTargets):
        shape = tuple(outputs[comparison.first].shape[:-1])
        return _first_fault(comparison, [_Field("value", list(dict.fromkeys([shape[:1], shape])), None)])
    return None  # a class of a plugin


def _roles(comparison: Any) -> List[Any]:
    """Every role that a comparison names."""
    named = [getattr(comparison, name, ()) for name in ("rows", "columns", "first", "second")]
    return [role for part in named for role in (part if isinstance(part, (tuple, list)) else [part])]


def _length(value: Any, axis: int) -> int:
    """Length of an axis; 1 if there is none, which the check of the shape then reports."""
    return value.shape[axis] if isinstance(value, Tensor) and value.dim() else 1


def _sizes(pairs: DensePairs, outputs: Mapping[str, Tensor]) -> Tuple[int, int]:
    """Number of rows (before anchors are chosen) and of columns in a group."""
    names = [pairs.columns] if isinstance(pairs.columns, str) else pairs.columns
    axes = slice(1, 2) if pairs.within == "clip" else slice(-1)
    rows, *columns = (outputs[name].shape[axes].numel() for name in (pairs.rows, *names))
    return rows, sum(columns)


def _of_pairs(pairs: DensePairs, rows: int, columns: int, clips: int) -> List[_Field]:
    fields = []
    if pairs.anchors is not None:
        rows = _length(pairs.anchors, 0)
        fields.append(_Field("anchors", [(rows,)], torch.int64))
    if isinstance(pairs, BlockPairs):
        own = [(rows, _length(pairs.own_target, -1))]
        fields += [_Field("own_target", own, None), _Field("own_allowed", own, torch.bool)]
        return [*fields, _Field("own_first", [(rows,)], torch.int64)]
    groups = dict.fromkeys([1, clips if pairs.within == "clip" else 1])
    shapes = [(group, rows, columns) for group in groups]
    return [*fields, _Field("target", shapes, None), _Field("allowed", shapes, torch.bool, optional=True)]


def _of_indices(pairs: IndexPairs) -> List[_Field]:
    count = _length(pairs.anchor, 0)
    fields = [_Field(name, [(count,)], torch.int64) for name in ("anchor", "positive")]
    return [*fields, _Field("negatives", [(count, _length(pairs.negatives, -1))], torch.int64)]


def _first_fault(comparison: Any, fields: Sequence[_Field]) -> Optional[str]:
    for name, shapes, dtype, optional in fields:
        value = getattr(comparison, name)
        if value is None and optional:
            continue
        if isinstance(value, np.ndarray):
            return f"returned {name} as a NumPy array; write torch.from_numpy({name})"
        if not isinstance(value, Tensor):
            return f"returned {name} as {kind_of(value)}; write a torch.Tensor"
        shape, wanted = tuple(value.shape), "floating-point" if dtype is None else str(dtype)
        if shape in shapes and (value.is_floating_point() if dtype is None else value.dtype is dtype):
            continue
        fix = f"make it {wanted} with {_CONVERSIONS[dtype]}" if shape in shapes else "correct its shape"
        if (1, *shape) in shapes:
            fix = f"write {name}[None]"
        return (
            f"returned {name} of shape {shape}, {value.dtype}, expected {' or '.join(map(str, shapes))}, {wanted}; "
            f"{fix}"
        )
    return None
