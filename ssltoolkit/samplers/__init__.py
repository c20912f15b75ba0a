"""Sampling strategies: which views are made of a clip and which clips or frames are compared."""

from ssltoolkit.data.segments import Cut
from ssltoolkit.samplers.base import DensePairs, DifferenceTargets, Sampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View

__all__ = ["Cut", "DensePairs", "DifferenceTargets", "FrameGrid", "RenderedView", "Sampler", "Transform", "View"]
