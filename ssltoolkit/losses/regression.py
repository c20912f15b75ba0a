"""Regression of a known difference between two views (the paper's pitch task)."""

from __future__ import annotations

from typing import Literal, Mapping

from torch import Tensor, nn

from ssltoolkit.errors import check_range
from ssltoolkit.losses.base import Loss, LossOutput
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DifferenceTargets


@register("loss", "difference_regression")
class DifferenceRegression(Loss):
    """Error of ``head(second) - head(first)`` against the known difference, on every frame.

    Args:
        form: ``mse`` as in the paper, ``huber`` grows linearly beyond ``delta`` (SPICE, Gfeller et al. 2020), so
            that frames without a pitch do not dominate.
        delta: where the Huber loss turns linear, in units of the target.
    """

    accepts = (DifferenceTargets,)

    def __init__(self, form: Literal["mse", "huber"] = "huber", delta: float = 1.0) -> None:
        super().__init__()
        check_range("delta", delta, 0.0, open_low=True)
        self.form, self.delta = form, delta

    def bind(self, dim: int) -> None:
        if dim != 1:
            raise ValueError(f"difference_regression needs a head with out_dim 1, got {dim}")

    def forward(self, outputs: Mapping[str, Tensor], comparison: DifferenceTargets) -> LossOutput:
        difference = (outputs[comparison.second] - outputs[comparison.first]).squeeze(-1)
        value = comparison.value.to(difference.dtype)
        if value.dim() < difference.dim():
            value = value.unsqueeze(-1).expand_as(difference)
        if self.form == "mse":
            loss = nn.functional.mse_loss(difference, value)
        else:
            loss = nn.functional.huber_loss(difference, value, delta=self.delta)
        return LossOutput(loss, {"absolute_error": (difference - value).abs().mean()})
