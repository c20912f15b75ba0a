"""Sampling strategies: which views are made of a clip, and which clips or frames are positives and negatives.

Here live index arrays and targets. How embeddings are compared never does (``losses``), nor how a view is rendered
(``transforms``)."""

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
