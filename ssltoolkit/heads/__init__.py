"""Projection heads; used in pre-training, thrown away afterwards."""

from ssltoolkit.heads.projection import Head, Projection

__all__ = ["Head", "Projection"]
