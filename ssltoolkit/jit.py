"""Compilation of numerical kernels with numba, with an on-disk cache."""

from __future__ import annotations

import os
import tempfile
import warnings
from typing import Callable


def _writable_cache() -> None:
    """Give numba a writable cache folder: inside the package, else a private temporary folder."""
    beside = os.path.join(os.path.dirname(__file__), "__pycache__")
    usable = beside if os.path.isdir(beside) else os.path.dirname(__file__)
    if "NUMBA_CACHE_DIR" not in os.environ and not os.access(usable, os.W_OK):
        folder = os.path.join(
            tempfile.gettempdir(), f"ssltoolkit-numba-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        )
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if os.stat(folder).st_uid == os.getuid():
                os.environ["NUMBA_CACHE_DIR"] = folder
        except (OSError, AttributeError):
            pass


_writable_cache()
import numba  # noqa: E402  (reads NUMBA_CACHE_DIR when imported)


def jit(**options: object) -> Callable:
    """``numba.njit`` with an on-disk cache if a cache folder is writable, else without."""

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            warnings.warn(f"compiled again in every process: {error}", stacklevel=2)
            return numba.njit(**options)(function)

    return decorate
