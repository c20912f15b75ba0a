"""Similarities of embeddings, and losses on comparisons.

A loss gets embeddings and a comparison (index arrays). How pairs were sampled never enters here (``samplers``).
"""

from ssltoolkit.losses.base import Loss, LossOutput, Similarity

__all__ = ["Loss", "LossOutput", "Similarity"]
