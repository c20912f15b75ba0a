"""Frontends: waveform (B, N) to log-mel (B, T, F), batched, on any device.

Contains spectrograms, mel banks and normalisation; augmentation is in ``transforms``, file reading in ``data``."""

from ssltoolkit.frontends.logmel import LogMel

__all__ = ["LogMel"]
