"""Transforms (augmentations) of views, batched, on the device.

Transforms act in one of five domains, applied in this order: ``wave`` (B, N), ``pitch`` (the ratio of the warped mel
bank), ``envelope`` (the same for the spectral envelope alone), ``mel`` (linear mel power, B, T, M), ``log`` (log-mel
before normalisation, B, T, M).
"""

from ssltoolkit.transforms.base import DOMAINS, Transform

__all__ = ["DOMAINS", "Transform"]
