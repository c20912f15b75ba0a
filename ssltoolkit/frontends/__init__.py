"""Waveform to log-mel, in batch, on any device."""

from ssltoolkit.frontends.logmel import LogMel

__all__ = ["LogMel"]
