"""The interfaces of a similarity and of a loss."""

from __future__ import annotations

from typing import ClassVar, Dict, Mapping, NamedTuple, Optional, Tuple

from torch import Tensor, nn

from ssltoolkit.registry import REGISTRY
from ssltoolkit.samplers.base import Comparison


class LossOutput(NamedTuple):
    """A scalar loss and scalars worth logging (accuracy, error, ...)."""

    loss: Tensor
    metrics: Dict[str, Tensor]


@REGISTRY.base("similarity")
class Similarity(nn.Module):
    """(G, R, D) and (G, C, D) embeddings to (G, R, C) similarities."""

    def bind(self, dim: int) -> None:
        """Create parameters for embeddings of ``dim``; called once, before training."""

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        raise NotImplementedError


@REGISTRY.base("loss")
class Loss(nn.Module):
    """A loss on the head's outputs of one strategy.

    ``accepts`` lists the comparison classes that it supports; the sampler's ``returns`` must be one of them. A loss
    with ``uses_target`` also receives the outputs of a target network, an exponential moving average of encoder and
    head with the loss's ``momentum``.
    """

    accepts: ClassVar[Tuple[type, ...]]
    uses_target: ClassVar[bool] = False
    momentum: float = 0.0

    def bind(self, dim: int) -> None:
        """Create parameters for head outputs of ``dim``; called once, before training."""

    def forward(
        self, outputs: Mapping[str, Tensor], comparison: Comparison, targets: Optional[Mapping[str, Tensor]] = None
    ) -> LossOutput:
        """Compute the loss.

        Args:
            outputs: role -> head output, (B, D) at clip level or (B, T', D) at frame level, float32.
            comparison: from the strategy's sampler, on the same device.
            targets: role -> output of the target network, without gradient; only with ``uses_target``.
        """
        raise NotImplementedError
