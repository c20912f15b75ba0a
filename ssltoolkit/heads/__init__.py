"""Projection heads between the encoder and a loss.

Heads are used only in pre-training; exported models do not contain them.
"""

from ssltoolkit.heads.projection import Head, Projection

__all__ = ["Head", "Projection"]
