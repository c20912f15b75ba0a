"""Whether a model is being exported as a graph, whose sizes are symbols: code whose course depends on a size then takes
one form for all.
"""

from __future__ import annotations

import contextlib
from typing import Iterator

from torch import Tensor, nn

_depth = 0


def exporting() -> bool:
    """True while :func:`as_graph` is in force."""
    return _depth > 0


@contextlib.contextmanager
def as_graph() -> Iterator[None]:
    """Everything computed inside is for a graph: no stretches, no blocks, no branches on sizes."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def pad_time(x: Tensor, count: int, value: float = 0.0) -> Tensor:
    """(B, T) or (B, T, F) with ``count`` more samples or frames of ``value`` at the end."""
    sides = (0, 0) * (x.dim() - 2)
    if not exporting():
        return nn.functional.pad(x, (*sides, 0, count), value=value)
    # Padding by nothing is another operation, which the graph would be bound to if the traced size needed none.
    return nn.functional.pad(x, (*sides, 0, count + 1), value=value)[:, : x.shape[1] + count]
