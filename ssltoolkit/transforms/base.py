"""The interface of a view transform."""

from __future__ import annotations

from typing import ClassVar, Dict

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.registry import REGISTRY

DOMAINS = ("wave", "pitch", "envelope", "mel", "log")
#: domains whose transforms only draw a ``ratio``, which the frontend applies
RATIOS = ("pitch", "envelope")
SCOPES = ("clip", "noise", "batch")
Params = Dict[str, np.ndarray]


@REGISTRY.base("transform")
class Transform:
    """One random change of a view.

    Subclasses are frozen dataclasses: equal transforms on the same cut and draw are one view, which is rendered once.
    Random parameters are drawn on the CPU from the batch's generator, so they depend only on the seed and the step.
    Samplers can read them as ``view.params[<transform name>]``.
    """

    #: what the transform changes, one of :data:`DOMAINS`: the waveform, the pitch ratio, the frequency ratio of the
    #: spectral envelope, mel power or log-mel (natural logarithm)
    domain: ClassVar[str]
    #: inputs of a clip's result in :meth:`apply`. ``clip``: the clip and its parameters; ``noise``: also the generator;
    #: ``batch``: also the other clips. Saves work in distributed training.
    scope: ClassVar[str] = "batch"
    #: whether the transform moves sounds in time; frames of such views cannot be matched by time
    moves_time: ClassVar[bool] = False
    registered_name: ClassVar[str]  # set by registration

    def draw(self, size: int, rng: np.random.Generator) -> Params:
        """Random parameters of ``size`` clips; every array has ``size`` rows."""
        raise NotImplementedError

    def settle(self, x: Tensor, params: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Add parameters that depend on the audio. With several resolutions ``x`` is the first one, and the same
        parameters are applied to the others."""
        return params

    def apply(self, x: Tensor, params: Dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The changed batch, same shape as ``x``; ``generator`` is for dense noise on x's device."""
        raise NotImplementedError
