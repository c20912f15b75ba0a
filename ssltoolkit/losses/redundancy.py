"""Losses without negatives that decorrelate the dimensions of an embedding: Barlow Twins and VICReg."""

from __future__ import annotations

from typing import Mapping, Optional, Tuple

import torch
from torch import Tensor, nn

from ssltoolkit.errors import check_range
from ssltoolkit.losses.base import Loss, LossOutput
from ssltoolkit.losses.contrastive import matched, rows_columns
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DensePairs


def _pairs(outputs: Mapping[str, Tensor], comparison: DensePairs) -> Tuple[Tensor, Tensor]:
    """Matched embeddings of the two views, each (n, D); n is 0 if nothing is matched."""
    rows, columns = rows_columns(outputs, comparison)
    return matched(rows, columns, comparison.target)


def _off_diagonal(matrix: Tensor) -> Tensor:
    return matrix - torch.diag(torch.diagonal(matrix))


@register("loss", "barlow_twins")
class BarlowTwins(Loss):
    """The cross-correlation of the two views' dimensions should be the identity (Zbontar et al. 2021, equation 1).

    The loss is divided by the number of dimensions, so that its scale does not depend on the head.

    Args:
        redundancy: weight of the off-diagonal terms.

    Example:
        ``loss: {name: barlow_twins, redundancy: 5e-3}``
    """

    accepts = (DensePairs,)

    def __init__(self, redundancy: float = 5e-3) -> None:
        super().__init__()
        check_range("redundancy", redundancy, 0.0)
        self.redundancy = redundancy

    def forward(
        self, outputs: Mapping[str, Tensor], comparison: DensePairs, targets: Optional[Mapping[str, Tensor]] = None
    ) -> LossOutput:
        first, second = _pairs(outputs, comparison)
        if len(first) < 2:  # correlation needs two pairs
            return LossOutput(first.sum() * 0.0, {})
        first, second = ((x - x.mean(0)) / (x.std(0, correction=0) + 1e-5) for x in (first, second))
        correlation = first.T @ second / len(first)
        diagonal = torch.diagonal(correlation)
        loss = (1.0 - diagonal).square().sum() + self.redundancy * _off_diagonal(correlation).square().sum()
        return LossOutput(loss / len(diagonal), {"correlation": diagonal.mean()})


@register("loss", "vicreg")
class VICReg(Loss):
    """Variance, invariance and covariance terms (Bardes et al. 2022, equation 6).

    Args:
        invariance: weight of the mean squared distance between the two views.
        variance: weight of the hinge that keeps each dimension's standard deviation at 1 or more.
        covariance: weight of the squared covariances between dimensions.

    Example:
        ``loss: {name: vicreg, invariance: 25.0, variance: 25.0, covariance: 1.0}``
    """

    accepts = (DensePairs,)

    def __init__(self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__()
        for name, value in (("invariance", invariance), ("variance", variance), ("covariance", covariance)):
            check_range(name, value, 0.0)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def forward(
        self, outputs: Mapping[str, Tensor], comparison: DensePairs, targets: Optional[Mapping[str, Tensor]] = None
    ) -> LossOutput:
        first, second = _pairs(outputs, comparison)
        if len(first) < 2:  # variance needs two pairs
            return LossOutput(first.sum() * 0.0, {})
        invariance = nn.functional.mse_loss(first, second)
        variance = 0.5 * sum(torch.relu(1.0 - (x.var(0) + 1e-4).sqrt()).mean() for x in (first, second))
        covariance = sum(_off_diagonal(torch.cov(x.T)).square().sum() / x.shape[1] for x in (first, second))
        loss = self.invariance * invariance + 2 * self.variance * variance + self.covariance * covariance
        return LossOutput(loss, {"invariance": invariance, "variance": variance, "covariance": covariance})
