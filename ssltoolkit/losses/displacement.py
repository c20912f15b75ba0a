"""Loss that matches a known difference to the displacement between two distributions."""

from __future__ import annotations

import math
from typing import Mapping, Optional

import torch
from torch import Tensor

from ssltoolkit.errors import check_range
from ssltoolkit.losses.base import Loss, LossOutput
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DifferenceTargets

#: added to the correlation before the logarithm, so that the loss of non-overlapping distributions is finite
_FLOOR = 1e-6


@register("loss", "displacement")
class Displacement(Loss):
    """Cross-entropy of the known displacement between two views' distributions over a common axis, on every frame.

    The head's outputs are logits over the bins of that axis. The score of a displacement is the cross-correlation of
    the two distributions at that lag; the loss is the cross-entropy of the known displacement, shared between the two
    nearest bins. The axis is learned: with transposition as the difference it becomes a log-frequency axis that can
    hold several partials or notes, where a regression has a single number. The transposition-equivariant objective
    follows PESTO (Riou et al. 2023). The correlation needs no further term against collapse, because distributions that
    ignore the input score all displacements equally.

    Args:
        bins: bins of the axis per unit of difference.
        max_difference: largest difference, in the target's unit; larger ones are clipped.

    Example:
        ``loss: {name: displacement, bins: 3, max_difference: 12}``
    """

    accepts = (DifferenceTargets,)

    def __init__(self, bins: int = 3, max_difference: float = 4.0) -> None:
        super().__init__()
        check_range("bins", bins, 1)
        check_range("max_difference", max_difference, 0.0, open_low=True)
        self.bins, self.reach = bins, math.ceil(max_difference * bins)

    def bind(self, dim: int) -> None:
        if dim <= 2 * self.reach:
            raise ValueError(
                f"displacements of up to {self.reach} bins in either direction need more than {2 * self.reach} "
                f"outputs, got {dim}"
            )

    def forward(
        self,
        outputs: Mapping[str, Tensor],
        comparison: DifferenceTargets,
        targets: Optional[Mapping[str, Tensor]] = None,
    ) -> LossOutput:
        first, second = (outputs[role].softmax(-1) for role in (comparison.first, comparison.second))
        fit = torch.log_softmax(torch.log(self._correlation(first, second) + _FLOOR), dim=-1)
        value = comparison.value.to(fit.dtype)
        if value.dim() < fit.dim() - 1:
            value = value.unsqueeze(-1).expand(fit.shape[:-1])
        loss = -self._at(fit, value).mean()
        found = (fit.argmax(-1) - self.reach) / self.bins
        return LossOutput(loss, {"absolute_error": (found - value).abs().mean()})

    def _correlation(self, first: Tensor, second: Tensor) -> Tensor:
        """Sum over bins k of first[k] second[k + s] for the displacements s from -reach to reach, as the last axis."""
        size = first.shape[-1] + self.reach  # long enough that no displacement in range wraps around
        product = torch.fft.rfft(first, size).conj() * torch.fft.rfft(second, size)
        around = torch.fft.irfft(product, size)
        # Rounding gives values slightly below 0 where the distributions do not overlap.
        return torch.cat([around[..., -self.reach :], around[..., : self.reach + 1]], dim=-1).clamp_min(0.0)

    def _at(self, fit: Tensor, value: Tensor) -> Tensor:
        """Log probability of the known difference (...), interpolated between the two nearest bins."""
        place = (value * self.bins).clamp(-self.reach, self.reach) + self.reach
        low = place.floor().clamp_max(2 * self.reach - 1)
        beside = low.long().unsqueeze(-1) + torch.arange(2, device=low.device)
        share = torch.stack([1.0 - (place - low), place - low], dim=-1)
        return (share * fit.gather(-1, beside)).sum(-1)
