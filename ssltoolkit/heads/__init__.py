"""Projection heads between the encoder and a loss.

Here lives what is used in pre-training and thrown away afterwards. Nothing of an exported model does.
"""

from ssltoolkit.heads.projection import Head, Projection

__all__ = ["Head", "Projection"]
