"""The C allocator's settings for training on a processor."""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_memory() -> bool:
    """Let freed memory stay with the process, as the next step asks for the same sizes again.

    By default glibc maps every large tensor anew and gives it back when freed, so that each step's pages are cleared by
    the system once more: a tenth of a step's time. Elsewhere than on glibc nothing is changed.

    Returns:
        Whether the settings were taken.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    return all([mallopt(option, value) == 1 for option, value in wanted])
