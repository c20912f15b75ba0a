"""Contrastive losses over dense comparisons: InfoNCE (with a band target, the paper's frame loss), NT-Xent, triplet."""

from __future__ import annotations

from typing import Mapping, Optional, Tuple, Union

import torch
from torch import Tensor

from ssltoolkit.errors import ConfigError, check_range
from ssltoolkit.losses.base import Loss, LossOutput, Similarity
from ssltoolkit.registry import register
from ssltoolkit.samplers.base import BlockPairs, DensePairs, IndexPairs


@register("loss", "info_nce")
class InfoNCE(Loss):
    """Softmax cross-entropy of each row over its columns; the positives share the target evenly.

    For row i with positives P: mean over j in P of (logsumexp over allowed columns of s_i - s_ij). With the diagonal
    as target this is COLA's loss (equation 1 of the paper), with a band around it the paper's frame loss.

    Args:
        similarity: similarity of two embeddings.
        symmetric: also use columns as anchors and average the two directions; columns that are no row's positive stay
            negatives only. Not supported for negatives drawn per anchor (:class:`IndexPairs`).

    Raises:
        ConfigError: ``symmetric`` with negatives drawn per anchor.

    Example:
        ``loss: {name: info_nce, similarity: {name: cosine, temperature: 0.2}, symmetric: true}``
    """

    accepts = (DensePairs, IndexPairs)

    def __init__(self, similarity: Similarity, symmetric: bool = False) -> None:
        super().__init__()
        self.similarity, self.symmetric = similarity, symmetric

    def bind(self, dim: int) -> None:
        self.similarity.bind(dim)

    def forward(
        self,
        outputs: Mapping[str, Tensor],
        comparison: Union[DensePairs, IndexPairs],
        targets: Optional[Mapping[str, Tensor]] = None,
    ) -> LossOutput:
        if isinstance(comparison, IndexPairs):
            if self.symmetric:
                raise ConfigError(
                    "info_nce: symmetric: true needs negatives shared by all anchors, this sampler draws them per "
                    "anchor; set symmetric: false"
                )
            outputs, comparison = comparison.dense(outputs)
        rows, columns = rows_columns(outputs, comparison)
        scores = self.similarity(rows, columns)
        if isinstance(comparison, BlockPairs):
            return self._of_blocks(scores[0], comparison)
        if comparison.allowed is not None:
            scores = scores.masked_fill(~comparison.allowed, float("-inf"))
        target = comparison.target.expand_as(scores)
        chosen = _chosen(scores, target)
        loss = _cross_entropy(scores, target, chosen, dim=-1)
        if self.symmetric:
            loss = 0.5 * (loss + _cross_entropy(scores, target, chosen, dim=-2))
        return LossOutput(loss, {"accuracy": _accuracy(scores, target)})

    def _of_blocks(self, scores: Tensor, comparison: BlockPairs) -> LossOutput:
        """The same loss from similarities (R, C) of block-sparse pairs, without a dense target."""
        target = comparison.own_target
        by_row, by_column, own, top = _two_way_logsumexp(scores, comparison)
        chosen = target * own
        loss = _mean_of(by_row, chosen.sum(1), target.sum(1))
        if self.symmetric:
            per_column = [
                by_column.new_zeros(comparison.total).index_add(0, comparison.place.flatten(), part.flatten())
                for part in (chosen, target)
            ]
            loss = 0.5 * (loss + _mean_of(by_column, *per_column))
        with torch.no_grad():
            valid = target.sum(1) > 0
            hit = ((target > 0) & (own >= top[:, None])).any(1)
            accuracy = (hit & valid).sum() / valid.sum().clamp_min(1)
        return LossOutput(loss, {"accuracy": accuracy})


@register("loss", "nt_xent")
class NTXent(Loss):
    """Normalised temperature-scaled cross-entropy (SimCLR, Chen et al. 2020).

    Both views are anchors, and the other embeddings of both views are the negatives.

    Args:
        similarity: similarity of two embeddings.

    Example:
        ``loss: {name: nt_xent, similarity: {name: cosine, temperature: 0.2}}``
    """

    accepts = (DensePairs,)

    def __init__(self, similarity: Similarity) -> None:
        super().__init__()
        self.similarity = similarity

    def bind(self, dim: int) -> None:
        self.similarity.bind(dim)

    def forward(
        self, outputs: Mapping[str, Tensor], comparison: DensePairs, targets: Optional[Mapping[str, Tensor]] = None
    ) -> LossOutput:
        rows, columns = rows_columns(outputs, comparison)
        both = torch.cat([rows, columns], dim=1)
        groups, count, _ = both.shape
        split = rows.shape[1]
        target = both.new_zeros(groups, count, count)
        target[:, :split, split:] = comparison.target
        target[:, split:, :split] = comparison.target.transpose(-1, -2)
        allowed = ~torch.eye(count, dtype=torch.bool, device=both.device).expand(groups, -1, -1).clone()
        if comparison.allowed is not None:
            allowed[:, :split, split:] &= comparison.allowed
            allowed[:, split:, :split] &= comparison.allowed.transpose(-1, -2)
        scores = self.similarity(both, both).masked_fill(~allowed, float("-inf"))
        loss = _cross_entropy(scores, target, _chosen(scores, target), dim=-1)
        return LossOutput(loss, {"accuracy": _accuracy(scores, target)})


@register("loss", "triplet")
class Triplet(Loss):
    """Hinge on the cosine similarity: each positive must beat the row's hardest negative by a margin.

    The triplet loss of FaceNet (Schroff et al. 2015), on similarities instead of distances.

    Args:
        margin: margin in cosine similarity.

    Example:
        ``loss: {name: triplet, margin: 0.2}``
    """

    accepts = (DensePairs, IndexPairs)

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        check_range("margin", margin, 0.0, 2.0)
        self.margin = margin

    def forward(
        self,
        outputs: Mapping[str, Tensor],
        comparison: Union[DensePairs, IndexPairs],
        targets: Optional[Mapping[str, Tensor]] = None,
    ) -> LossOutput:
        if isinstance(comparison, IndexPairs):
            outputs, comparison = comparison.dense(outputs)
        rows, columns = (torch.nn.functional.normalize(x, dim=-1, eps=1e-8) for x in rows_columns(outputs, comparison))
        scores = torch.matmul(rows, columns.transpose(-1, -2))
        target = comparison.target.expand_as(scores)
        negative = target == 0
        if comparison.allowed is not None:
            negative = negative & comparison.allowed
        # A row without negatives has zero loss: its hardest negative is infinitely far away.
        hardest = scores.masked_fill(~negative, float("-inf")).amax(-1, keepdim=True)
        hinge = torch.relu(self.margin + hardest - scores)
        weight = target.sum(-1)
        valid = weight > 0
        per_row = (target * hinge).sum(-1) / weight.clamp_min(1e-12)
        count = valid.sum().clamp_min(1)
        beaten = (target * (scores > hardest)).sum(-1) / weight.clamp_min(1e-12)
        return LossOutput((per_row * valid).sum() / count, {"accuracy": (beaten * valid).sum() / count})


def rows_columns(outputs: Mapping[str, Tensor], comparison: DensePairs) -> Tuple[Tensor, Tensor]:
    """Head outputs of a comparison's rows (G, R, D) and columns (G, C, D)."""
    roles = (comparison.columns,) if isinstance(comparison.columns, str) else comparison.columns
    columns = torch.cat([grouped(outputs[role], comparison) for role in roles], dim=1)
    rows = grouped(outputs[comparison.rows], comparison)
    return rows if comparison.anchors is None else rows[:, comparison.anchors], columns


def matched(rows: Tensor, columns: Tensor, target: Tensor) -> Tuple[Tensor, Tensor]:
    """Rows that have a positive (n, D), and the mean of the positives of each (n, D)."""
    target = target.to(columns.dtype).expand(rows.shape[0], -1, -1)
    weight = target.sum(-1)
    valid = weight > 0
    positives = torch.matmul(target / weight.clamp_min(1e-12).unsqueeze(-1), columns)
    return rows[valid], positives[valid]


def grouped(output: Tensor, comparison: DensePairs) -> Tensor:
    """Head outputs (B, D) or (B, T', D) as (G, rows, D)."""
    if comparison.within == "clip":
        if output.dim() != 3:
            raise ValueError("a comparison within clips needs frame-level outputs")
        return output
    return output.reshape(1, -1, output.shape[-1])


def _two_way_logsumexp(scores: Tensor, comparison: BlockPairs) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logsumexp over each row (R,) and column (C,), the scores of the rows' own columns (R, W), and each row's largest
    score (R,).
    """
    if scores.device.type == "cpu" and scores.dtype is torch.float32:
        from ssltoolkit.kernels.contrast import two_way_logsumexp

        return two_way_logsumexp(scores, comparison.own_allowed, comparison.own_first)
    place = comparison.place
    own = scores.gather(1, place)
    hidden = scores.scatter(1, place, own.masked_fill(~comparison.own_allowed, float("-inf")))
    return hidden.logsumexp(1), hidden.logsumexp(0), own, hidden.detach().amax(1)


def _mean_of(log_sums: Tensor, chosen: Tensor, weight: Tensor) -> Tensor:
    """Mean cross-entropy over the anchors that have a positive."""
    valid = weight > 0
    each = log_sums - chosen / weight.clamp_min(1e-12)
    return torch.where(valid, each, torch.zeros_like(each)).sum() / valid.sum().clamp_min(1)


def _chosen(scores: Tensor, target: Tensor) -> Tensor:
    """Scores weighted by the target, 0 elsewhere: excluded columns score -inf, and 0 * -inf would be nan."""
    return target * scores.masked_fill(target == 0, 0.0)


def _cross_entropy(scores: Tensor, target: Tensor, chosen: Tensor, dim: int) -> Tensor:
    """Mean cross-entropy over ``dim`` of the anchors that have a positive: -1 for rows as anchors, -2 for columns.

    Both directions read the same matrix: transposing a large matrix would cost more than the reduction.
    """
    return _mean_of(torch.logsumexp(scores, dim=dim), chosen.sum(dim), target.sum(dim))


@torch.no_grad()
def _accuracy(scores: Tensor, target: Tensor) -> Tensor:
    """Share of rows whose highest-scoring column is a positive, among the rows that have one."""
    valid = target.sum(-1) > 0
    hit = target.gather(-1, scores.argmax(-1, keepdim=True)).squeeze(-1) > 0
    return (hit & valid).sum() / valid.sum().clamp_min(1)
