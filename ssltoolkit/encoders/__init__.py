"""Encoders: log-mel (B, T, F) to frames (B, T', D), by named output.

Here live networks and readers of released weights. Pooling over time, whitening and context never do (``embedding``),
nor heads."""

from ssltoolkit.encoders.base import Encoder

__all__ = ["Encoder"]
