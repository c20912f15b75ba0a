"""Waveform (B, N) to log-mel (B, T, F), in batch, on any device.

Here live spectrograms, mel banks and their normalisation. Augmentation never does (``transforms``), nor file reading
(``data``)."""

from ssltoolkit.frontends.logmel import LogMel

__all__ = ["LogMel"]
