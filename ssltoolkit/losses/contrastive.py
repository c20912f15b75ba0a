"""InfoNCE over dense comparisons; with a band target it is the frame loss of the paper."""

from __future__ import annotations

from typing import Mapping, Tuple

import torch
from torch import Tensor

from ssltoolkit.losses.base import Loss, LossOutput, Similarity
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import DensePairs


@register("loss", "info_nce")
class InfoNCE(Loss):
    """Softmax cross-entropy of each row over its columns, the positives sharing the target evenly.

    For row i with positives P: mean over j in P of (logsumexp over allowed columns of s_i - s_ij). With the diagonal
    as target this is COLA's loss (equation 1 of the paper), with a band around it the paper's frame loss.

    Args:
        similarity: of two embeddings.
        symmetric: also take columns as anchors and average the two directions; columns that are nobody's positive
            are then only negatives.
    """

    accepts = (DensePairs,)

    def __init__(self, similarity: Similarity, symmetric: bool = False) -> None:
        super().__init__()
        self.similarity, self.symmetric = similarity, symmetric

    def bind(self, dim: int) -> None:
        self.similarity.bind(dim)

    def forward(self, outputs: Mapping[str, Tensor], comparison: DensePairs) -> LossOutput:
        roles = (comparison.columns,) if isinstance(comparison.columns, str) else comparison.columns
        rows = grouped(outputs[comparison.rows], comparison)
        columns = torch.cat([grouped(outputs[role], comparison) for role in roles], dim=1)
        scores = self.similarity(rows, columns)
        if comparison.allowed is not None:
            scores = scores.masked_fill(~comparison.allowed, float("-inf"))
        target = comparison.target.expand_as(scores)
        loss, accuracy = _cross_entropy(scores, target)
        if self.symmetric:
            backward, _ = _cross_entropy(scores.transpose(-1, -2), target.transpose(-1, -2))
            loss = 0.5 * (loss + backward)
        return LossOutput(loss, {"accuracy": accuracy})


def grouped(output: Tensor, comparison: DensePairs) -> Tensor:
    """Head outputs (B, D) or (B, T', D) as (G, rows, D)."""
    if comparison.within == "clip":
        if output.dim() != 3:
            raise ValueError("a comparison within clips needs frame-level outputs")
        return output
    return output.reshape(1, -1, output.shape[-1])


def _cross_entropy(scores: Tensor, target: Tensor) -> Tuple[Tensor, Tensor]:
    """Mean over rows with a positive of the cross-entropy, and the share of them whose best column is a positive."""
    weight = target.sum(-1)
    valid = weight > 0
    # 0 * -inf is nan: forbidden columns carry no target, so their score may be anything finite here.
    chosen = (target * scores.masked_fill(target == 0, 0.0)).sum(-1) / weight.clamp_min(1e-12)
    per_row = torch.logsumexp(scores, dim=-1) - chosen
    count = valid.sum().clamp_min(1)
    loss = torch.where(valid, per_row, torch.zeros_like(per_row)).sum() / count
    hit = target.gather(-1, scores.detach().argmax(-1, keepdim=True)).squeeze(-1) > 0
    return loss, (hit & valid).sum() / count
