"""C allocator settings for training on a CPU."""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_memory() -> bool:
    """Keep freed memory in the process, because the next step allocates the same sizes again.

    By default glibc maps memory for every large tensor and unmaps it when freed, so the kernel zeroes the pages again
    in each step, which takes a tenth of the step's time. Without glibc nothing changes.

    Returns:
        Whether the settings were applied.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    return all([mallopt(option, value) == 1 for option, value in wanted])
