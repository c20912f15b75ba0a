"""Asynchronous copies from the host to the device."""

from __future__ import annotations

from typing import Union

import torch
from torch import Tensor


def on_device(x: Tensor, device: Union[str, torch.device]) -> Tensor:
    """Copy ``x`` to a device. Tensors for a GPU are pinned first: a copy from pageable memory would wait for all queued
    work of the device.
    """
    if torch.device(device).type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
