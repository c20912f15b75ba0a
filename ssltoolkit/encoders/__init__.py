"""Encoders: log-mel (B, T, F) to frames (B, T', D), by named output.

Contains networks and readers of released weights. Pooling over time, whitening and frame context belong to
``embedding``, heads to ``heads``."""

from ssltoolkit.encoders.base import Encoder

__all__ = ["Encoder"]
