"""Flag for exporting a model as a graph with symbolic sizes: code must then avoid branches and loops over sizes."""

from __future__ import annotations

import contextlib
from typing import Iterator

from torch import Tensor, nn

_depth = 0


def exporting() -> bool:
    """True inside :func:`as_graph`."""
    return _depth > 0


@contextlib.contextmanager
def as_graph() -> Iterator[None]:
    """Context for tracing a graph: no chunks, no blocks, no branches on sizes."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def pad_time(x: Tensor, count: int, value: float = 0.0) -> Tensor:
    """Append ``count`` samples or frames of ``value`` to (B, T) or (B, T, F)."""
    sides = (0, 0) * (x.dim() - 2)
    if not exporting():
        return nn.functional.pad(x, (*sides, 0, count), value=value)
    # Padding by 0 is traced as a different operation, so the graph would depend on the traced size: pad by one more and
    # cut it off.
    return nn.functional.pad(x, (*sides, 0, count + 1), value=value)[:, : x.shape[1] + count]
