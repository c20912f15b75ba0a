"""Parallel execution of compiled loops over rows, with torch's number of threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, List, Optional, Tuple

import torch

_pool: Optional[ThreadPoolExecutor] = None


def _forget_pool() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # a forked process does not inherit its parent's threads
    os.register_at_fork(after_in_child=_forget_pool)


def blocks(rows: int, size: int) -> List[Tuple[int, int]]:
    """``rows`` as consecutive (first, last) blocks of ``size``, independent of the number of threads, so that sums by
    block are reproducible.
    """
    return [(first, min(first + size, rows)) for first in range(0, rows, size)]


def for_each(function: Callable[..., object], parts: List[tuple]) -> None:
    """Call ``function(*part)`` for every part, at most ``torch.get_num_threads()`` at a time.

    Args:
        function: compiled with ``nogil``; calls must not write to the same memory.
        parts: arguments of each call.
    """
    global _pool
    threads = min(torch.get_num_threads(), len(parts))
    if threads < 2:
        for part in parts:
            function(*part)
        return
    if _pool is None or _pool._max_workers < threads - 1:
        _pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="kernel")
    shares = [parts[start::threads] for start in range(threads)]
    others = [_pool.submit(_run, function, share) for share in shares[1:]]
    _run(function, shares[0])
    for other in others:
        other.result()


def _run(function: Callable[..., object], parts: List[tuple]) -> None:
    for part in parts:
        function(*part)
