"""Number types of compiled kernels: bfloat16 stored as its 16 bits, and an exponential that the compiler vectorises.

NumPy and numba have no bfloat16. A kernel reads such a tensor as ``uint16`` and computes in float32. :func:`widened`
and :func:`narrowed` convert between the two and do not change float32, so the same kernel supports both."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable
from torch import Tensor


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def _bits_of_float(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def widened(value: float) -> float:
    """An element as float32; ``uint16`` is interpreted as the bits of a bfloat16. For compiled code only."""
    raise NotImplementedError


@overload(widened)
def _widened(value):  # no annotations: numba compares them with those of the returned implementation
    if value == types.uint16:
        return lambda value: _float_of_bits(np.uint32(value) << np.uint32(16))
    return lambda value: value


def narrowed(value: float, array: np.ndarray) -> float:
    """Float32 ``value`` as an element of ``array``: the nearest bfloat16 (ties to even) for ``uint16``. For compiled
    code only.
    """
    raise NotImplementedError


@overload(narrowed)
def _narrowed(value, array):
    if array.dtype == types.uint16:

        def rounded(value, array):
            bits = _bits_of_float(value)
            return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

        return rounded
    return lambda value, array: value


_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)


@register_jitable
def exp(x: Any) -> Any:
    """exp(x) in float32 with a relative error of about 1e-7; 0 below -87, NaN for NaN. Implemented here because the
    compiler cannot vectorise library calls.

    Range reduction and polynomial as in Cephes' ``expf`` (Moshier).
    """
    clipped = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(clipped * _LOG2E + np.float32(0.5))
    r = clipped - n * _LN2_HIGH - n * _LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    value = (p * r * r + r + np.float32(1.0)) * _float_of_bits(np.uint32((np.int32(n) + np.int32(127)) << np.int32(23)))
    value = np.float32(0.0) if x < np.float32(-87.0) else value
    # Clipping alone would turn NaN into a number, and a step that must be skipped would look valid.
    return value if x == x else x


def as_array(x: Tensor) -> np.ndarray:
    """A CPU tensor as an array that shares its memory, bfloat16 as ``uint16``.

    Args:
        x: float32 or bfloat16, without gradient.
    """
    x = x.detach()
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype is torch.bfloat16 else x.numpy()
