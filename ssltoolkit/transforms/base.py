"""The interface of a view transform."""

from __future__ import annotations

from typing import ClassVar, Dict

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.registry import REGISTRY

DOMAINS = ("wave", "pitch", "mel", "log")
Params = Dict[str, np.ndarray]


@REGISTRY.base("transform")
class Transform:
    """One random change of a view.

    Subclasses are frozen dataclasses (two equal transforms on the same cut and draw are one view, rendered once).
    Random parameters are drawn on the CPU from the batch's own generator, so that they depend on the seed and the step
    alone, and stay readable by samplers as ``view.params[<transform name>]``.
    """

    domain: ClassVar[str]
    #: what :meth:`apply` makes a clip's result of. ``clip``: that clip and its parameters; ``noise``: also the
    #: generator; ``batch``: also the other clips. Processes that share a batch then do no more than they must.
    scope: ClassVar[str] = "batch"
    #: whether what sounds at a moment stands at another one afterwards: frames of two such views cannot be matched by
    #: time
    moves_time: ClassVar[bool] = False
    registered_name: ClassVar[str]  # set by registration

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        """Random parameters of ``size`` clips; every array has ``size`` rows."""
        raise NotImplementedError

    def settle(self, x: Tensor, params: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """The parameters, with what depends on the sound itself added: of a frontend with several resolutions ``x`` is
        the first, and the others are then changed alike."""
        return params

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The changed batch, same shape as ``x``; ``generator`` is for dense noise on x's device."""
        raise NotImplementedError
