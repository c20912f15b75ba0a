"""From the host to the device without waiting for it."""

from __future__ import annotations

from typing import Union

import torch
from torch import Tensor


def on_device(x: Tensor, device: Union[str, torch.device]) -> Tensor:
    """``x`` on a device. From pageable memory torch waits until the device has done all before; what goes to a GPU is
    pinned first.
    """
    if torch.device(device).type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
