"""Whether a device computes in bfloat16, and whether it gains by that."""

from __future__ import annotations

from typing import FrozenSet

import torch

from ssltoolkit.errors import UserError

#: flags of processors with instructions for products of bfloat16; others that can work with it convert back and forth
_NATIVE = frozenset({"avx512_bf16", "amx_bf16"})


def cpu_flags() -> FrozenSet[str]:
    """What this processor says it has, as Linux lists it; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return frozenset()


def has_bfloat16(device: str) -> bool:
    """Whether a ``cpu`` or ``cuda`` device computes in bfloat16 other than value by value, a hundred times slower."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def gains_by_bfloat16(device: str) -> bool:
    """Whether bfloat16 is faster there than float32."""
    return has_bfloat16(device) and (device == "cuda" or bool(_NATIVE & cpu_flags()))


def uses_bfloat16(precision: str, device: str) -> bool:
    """What ``training.precision`` comes to on a device.

    Raises:
        UserError: ``bf16``, where it would be computed value by value.
    """
    if precision == "bf16" and not has_bfloat16(device):
        raise UserError(
            "training.precision: this machine does not compute in bfloat16 (it would take a hundred times as long); "
            "use auto or fp32"
        )
    return precision == "bf16" or (precision == "auto" and gains_by_bfloat16(device))
