"""Similarities of embeddings and losses on comparisons."""

from ssltoolkit.losses.base import Loss, LossOutput, Similarity

__all__ = ["Loss", "LossOutput", "Similarity"]
