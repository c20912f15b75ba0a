"""Encoders: log-mel (B, T, F) to one embedding a frame (B, T', D)."""

from ssltoolkit.encoders.base import Encoder

__all__ = ["Encoder"]
