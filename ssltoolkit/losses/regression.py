"""Regression of a known difference between two views (the paper's pitch task)."""

from __future__ import annotations

from typing import Literal, Mapping, Optional, Tuple

from torch import Tensor, nn

from ssltoolkit.errors import check_range
from ssltoolkit.losses.base import Loss, LossOutput
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DifferenceTargets


@register("loss", "difference_regression")
class DifferenceRegression(Loss):
    """Regression error of ``head(second) - head(first)`` against the known difference, on every frame.

    Args:
        form: ``mse`` as in the paper, or ``huber``, which grows linearly beyond ``delta`` (SPICE, Gfeller et al. 2020),
            so that frames without a pitch do not dominate.
        delta: where the Huber loss turns linear, in units of the target.

    Example:
        ``loss: {name: difference_regression, form: huber}``
    """

    accepts = (DifferenceTargets,)

    def __init__(self, form: Literal["mse", "huber"] = "huber", delta: float = 1.0) -> None:
        super().__init__()
        check_range("delta", delta, 0.0, open_low=True)
        self.form, self.delta = form, delta

    def bind(self, dim: int) -> None:
        if dim != 1:
            raise ValueError(f"difference_regression needs a head with out_dim 1, got {dim}")

    def forward(
        self,
        outputs: Mapping[str, Tensor],
        comparison: DifferenceTargets,
        targets: Optional[Mapping[str, Tensor]] = None,
    ) -> LossOutput:
        difference, value = _difference(outputs, comparison)
        if self.form == "mse":
            loss = nn.functional.mse_loss(difference, value)
        else:
            loss = nn.functional.huber_loss(difference, value, delta=self.delta)
        return LossOutput(loss, {"absolute_error": (difference - value).abs().mean()})


@register("loss", "difference_sign")
class DifferenceSign(Loss):
    """Logistic loss on the sign of ``head(second) - head(first)``: only the order is learned.

    Args:
        min_difference: pairs with a smaller known difference are ignored, in units of the target.

    Example:
        ``loss: {name: difference_sign, min_difference: 0.05}``
    """

    accepts = (DifferenceTargets,)

    def __init__(self, min_difference: float = 0.05) -> None:
        super().__init__()
        check_range("min_difference", min_difference, 0.0)
        self.min_difference = min_difference

    def bind(self, dim: int) -> None:
        if dim != 1:
            raise ValueError(f"difference_sign needs a head with out_dim 1, got {dim}")

    def forward(
        self,
        outputs: Mapping[str, Tensor],
        comparison: DifferenceTargets,
        targets: Optional[Mapping[str, Tensor]] = None,
    ) -> LossOutput:
        difference, value = _difference(outputs, comparison)
        counted = (value.abs() > self.min_difference).to(difference.dtype)
        total = counted.sum().clamp_min(1.0)
        loss = (nn.functional.softplus(-difference * value.sign()) * counted).sum() / total
        right = ((difference * value > 0).to(difference.dtype) * counted).sum() / total
        return LossOutput(loss, {"accuracy": right})


def _difference(outputs: Mapping[str, Tensor], comparison: DifferenceTargets) -> Tuple[Tensor, Tensor]:
    """Predicted and known differences of the same shape, (B,) or (B, T')."""
    difference = (outputs[comparison.second] - outputs[comparison.first]).squeeze(-1)
    value = comparison.value.to(difference.dtype)
    if value.dim() < difference.dim():
        value = value.unsqueeze(-1).expand_as(difference)
    return difference, value
