"""Similarities of embeddings, and losses on comparisons.

A loss receives embeddings and a comparison (index arrays). Pairs are sampled in ``samplers``.
"""

from ssltoolkit.losses.base import Loss, LossOutput, Similarity

__all__ = ["Loss", "LossOutput", "Similarity"]
