"""Bootstrap your own latent: predict a moving-average network's output for the other view (Grill et al. 2020)."""

from __future__ import annotations

from typing import Mapping, Optional

import torch
from torch import Tensor, nn

from ssltoolkit.errors import check_range
from ssltoolkit.losses.base import Loss, LossOutput
from ssltoolkit.losses.contrastive import rows_columns
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DensePairs


@register("loss", "byol")
class BYOL(Loss):
    """2 - 2 cos(q(z_row), z'_positive), averaged over positives and over both directions (equation 2 of the paper).

    q is a predictor that only the online network has; z' comes from the target network, an exponential moving average
    without gradient. There are no negatives.

    Args:
        hidden_dim: hidden size of the predictor.
        momentum: momentum of the moving average, per step.

    Example:
        ``loss: {name: byol, momentum: 0.99}``
    """

    accepts = (DensePairs,)
    uses_target = True

    def __init__(self, hidden_dim: int = 1024, momentum: float = 0.99) -> None:
        super().__init__()
        check_range("hidden_dim", hidden_dim, 1)
        check_range("momentum", momentum, 0.0, 1.0)
        self.hidden_dim, self.momentum = hidden_dim, momentum

    def bind(self, dim: int) -> None:
        self.predictor = nn.Sequential(
            nn.Linear(dim, self.hidden_dim, bias=False),
            nn.BatchNorm1d(self.hidden_dim),
            nn.ReLU(),
            nn.Linear(self.hidden_dim, dim),
        )

    def forward(
        self, outputs: Mapping[str, Tensor], comparison: DensePairs, targets: Optional[Mapping[str, Tensor]] = None
    ) -> LossOutput:
        if targets is None:
            raise ValueError("byol needs the outputs of a target network")
        rows, columns = rows_columns(outputs, comparison)
        slow_rows, slow_columns = rows_columns(targets, comparison)
        target = comparison.target.to(rows.dtype)
        forward = self._cosine(rows, slow_columns, target)
        backward = self._cosine(columns, slow_rows, target.transpose(-1, -2))
        cosine = 0.5 * (forward + backward)
        return LossOutput(2.0 - 2.0 * cosine, {"cosine": cosine})

    def _cosine(self, rows: Tensor, slow: Tensor, target: Tensor) -> Tensor:
        """Mean cosine of each row's prediction with its positives, over the rows that have any."""
        predicted = self.predictor(rows.reshape(-1, rows.shape[-1])).view(rows.shape)
        predicted, slow = (nn.functional.normalize(x, dim=-1, eps=1e-8) for x in (predicted, slow))
        cosine = torch.matmul(predicted, slow.transpose(-1, -2))
        weight = target.sum(-1)
        per_row = (target * cosine).sum(-1) / weight.clamp_min(1e-12)
        valid = (weight > 0).expand_as(per_row)
        return (per_row * valid).sum() / valid.sum().clamp_min(1)
