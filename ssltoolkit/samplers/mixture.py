"""Mixture sampling: a mixture of two clips is a positive of both."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import torch

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import check_range
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DensePairs, Sampler
from ssltoolkit.transforms.base import Transform
from ssltoolkit.transforms.level import Mix
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


@register("sampler", "mixture")
class MixtureSampler(Sampler):
    """Mix each clip with another clip of the batch; both source clips are positives of the mixture.

    Args:
        max_snr_db: the two clips are mixed at a ratio drawn from [-max_snr_db, max_snr_db].
        mixed: further transforms of the mixture.
        clean: transforms of the unmixed segments.

    Example:
        ``sampler: {name: mixture, max_snr_db: 6}``
    """

    level = "clip"

    def __init__(
        self, max_snr_db: float = 6.0, mixed: Sequence[Transform] = (), clean: Sequence[Transform] = ()
    ) -> None:
        check_range("max_snr_db", max_snr_db, 0.0, 40.0)
        mix = Mix(-max_snr_db, max_snr_db, probability=1.0)
        super().__init__(mixture=View(Cut("anchor"), (mix, *mixed), draw=2), clean=View(Cut("anchor"), clean))

    def compare(self, views: Mapping[str, RenderedView], grid: FrameGrid, rng: np.random.Generator) -> DensePairs:
        target = torch.eye(grid.size)
        partner = torch.from_numpy(views["mixture"].param("mix", "partner"))
        target[torch.arange(grid.size), partner] = 1.0
        return DensePairs("mixture", "clean", target[None])
