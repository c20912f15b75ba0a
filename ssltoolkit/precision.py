"""Support and speed of bfloat16 on a device."""

from __future__ import annotations

from typing import FrozenSet

import torch

from ssltoolkit.errors import UserError

#: flags of CPUs with bfloat16 multiply instructions; other CPUs convert to float32 and back
_NATIVE = frozenset({"avx512_bf16", "amx_bf16"})


def cpu_flags() -> FrozenSet[str]:
    """Feature flags of this CPU as listed by Linux; empty on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return frozenset()


def has_bfloat16(device: str) -> bool:
    """Whether a ``cpu`` or ``cuda`` device has fast bfloat16, not a scalar emulation that is a hundred times slower."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def gains_by_bfloat16(device: str) -> bool:
    """Whether bfloat16 is faster than float32 on the device."""
    return has_bfloat16(device) and (device == "cuda" or bool(_NATIVE & cpu_flags()))


def uses_bfloat16(precision: str, device: str) -> bool:
    """Whether ``training.precision`` means bfloat16 on a device.

    Raises:
        UserError: ``bf16`` on a device without fast bfloat16.
    """
    if precision == "bf16" and not has_bfloat16(device):
        raise UserError(
            "training.precision: this machine does not support bfloat16 (emulation takes a hundred times as long); "
            "use auto or fp32"
        )
    return precision == "bf16" or (precision == "auto" and gains_by_bfloat16(device))
