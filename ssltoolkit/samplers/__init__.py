"""Sampling strategies: which views are made of a clip, and which clips or frames are positives and negatives.

Samplers return index arrays and targets. ``losses`` compares embeddings, ``transforms`` renders views."""

from ssltoolkit.data.segments import Cut
from ssltoolkit.samplers.base import BlockPairs, DensePairs, DifferenceTargets, IndexPairs, Sampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View

__all__ = [
    "BlockPairs",
    "Cut",
    "DensePairs",
    "DifferenceTargets",
    "FrameGrid",
    "IndexPairs",
    "RenderedView",
    "Sampler",
    "Transform",
    "View",
]
