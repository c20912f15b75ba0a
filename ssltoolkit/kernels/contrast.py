"""Logsumexp of a matrix along both dimensions, with two passes over memory, on CPUs.

Symmetric InfoNCE, with rows and columns as anchors, needs both. torch makes a dozen passes over the matrix, forward and
backward, and saves copies of it; here forward reads it twice, and backward reads and writes it once.

Symbols: S (R, C) similarities. The W own columns of row i start at ``first[i]``; ``allowed`` says which of them are
included. All other columns are included."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssltoolkit.jit import jit
from ssltoolkit.kernels.numbers import as_array, exp
from ssltoolkit.kernels.threads import blocks, for_each

#: rows whose column sums are accumulated in float32; they stay in the L2 cache between the two passes
_BLOCK = 64


@jit(nogil=True, error_model="numpy")
def _exchange(scores, allowed, first, kept, start, stop):
    """Swap the excluded own columns of rows start to stop with the content of ``kept`` (R, W)."""
    for i in range(start, stop):
        row, mine = scores[i], kept[i]
        own = row[first[i] : first[i] + allowed.shape[1]]
        for k in range(len(own)):
            if not allowed[i, k]:
                mine[k], own[k] = own[k], mine[k]


@jit(nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def _sums(scores, allowed, first, kept, start, stop, row_max, row_sum, column_max, column_sum):
    """Maxima and sums of exp(S - maximum) of rows start to stop, and of the columns within them. S is restored."""
    columns = scores.shape[1]
    _exchange(scores, allowed, first, kept, start, stop)
    for j in range(columns):
        column_max[j] = np.float32(-1e30)
        column_sum[j] = np.float32(0)
    for i in range(start, stop):
        row, top = scores[i], np.float32(-1e30)
        for j in range(columns):
            value = row[j]
            top = max(top, value)
            column_max[j] = max(column_max[j], value)
        row_max[i] = top
    for i in range(start, stop):
        row, top, total = scores[i], row_max[i], np.float32(0)
        for j in range(columns):
            value = row[j]
            total += exp(value - top)
            column_sum[j] += exp(value - column_max[j])
        row_sum[i] = total
    _exchange(scores, allowed, first, kept, start, stop)


@jit(nogil=True, fastmath={"contract"}, error_model="numpy")
def _gradient(scores, allowed, first, by_row, by_column, of_row, of_column, start, stop, gradient):
    """dL/dS = of_row softmax over the row + of_column softmax over the column; 0 in excluded own columns."""
    for i in range(start, stop):
        row, out, log_sum, share = scores[i], gradient[i], by_row[i], of_row[i]
        for j in range(scores.shape[1]):
            value = row[j]
            out[j] = share * exp(value - log_sum) + of_column[j] * exp(value - by_column[j])
        own = out[first[i] : first[i] + allowed.shape[1]]
        for k in range(len(own)):
            if not allowed[i, k]:
                own[k] = np.float32(0)


class _TwoWayLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, allowed: Tensor, first: Tensor) -> Tuple[Tensor, ...]:
        place = first[:, None] + torch.arange(allowed.shape[1])
        own = scores.gather(1, place)
        scores = scores.contiguous()
        s = as_array(scores)
        rows, columns = s.shape
        parts = blocks(rows, _BLOCK)
        mask, begin, kept = allowed.numpy(), first.numpy(), np.full(allowed.shape, -np.inf, np.float32)
        row_max, row_sum = np.empty(rows, np.float32), np.empty(rows, np.float32)
        tops, sums = np.empty((len(parts), columns), np.float32), np.empty((len(parts), columns), np.float32)
        for_each(
            _sums,
            [
                (s, mask, begin, kept, start, stop, row_max, row_sum, tops[k], sums[k])
                for k, (start, stop) in enumerate(parts)
            ],
        )
        top = tops.max(0)
        # rows or columns without included values, and non-finite values
        with np.errstate(divide="ignore", invalid="ignore"):
            by_column = (np.log((sums * np.exp(tops - top)).sum(0, dtype=np.float64)) + top).astype(np.float32)
            by_row = (np.log(row_sum.astype(np.float64)) + row_max).astype(np.float32)
        by_row, by_column = torch.from_numpy(by_row), torch.from_numpy(by_column)
        ctx.save_for_backward(scores, allowed, first, place, by_row, by_column)
        row_max = torch.from_numpy(row_max)
        ctx.mark_non_differentiable(row_max)
        return by_row, by_column, own, row_max

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_row: Tensor, of_column: Tensor, of_own: Tensor, *_: Tensor) -> Tuple[Tensor, None, None]:
        scores, allowed, first, place, by_row, by_column = ctx.saved_tensors
        gradient = torch.empty_like(scores)
        arrays = [as_array(part.contiguous()) for part in (by_row, by_column, of_row, of_column)]
        arrays = [as_array(scores), allowed.numpy(), first.numpy(), *arrays]
        for_each(_gradient, [(*arrays, start, stop, as_array(gradient)) for start, stop in blocks(len(scores), _BLOCK)])
        gradient.scatter_add_(1, place, of_own.contiguous())
        return gradient, None, None


def two_way_logsumexp(scores: Tensor, allowed: Tensor, first: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logsumexp along both dimensions, and each row's own columns.

    Args:
        scores: S (R, C) float32 on the CPU.
        allowed: (R, W) bool, which of each row's own columns are included.
        first: (R,) int64, first own column of each row.

    Returns:
        Logsumexp over the columns of each row (R,) and over the rows of each column (C,), the own similarities (R, W),
        and, without gradient, the largest similarity of each row (R,) among the included columns.

    Raises:
        ValueError: inconsistent shapes or positions.
    """
    rows, columns = scores.shape
    if (
        allowed.shape[0] != rows
        or first.shape != (rows,)
        or (rows and not 0 <= int(first.min()) <= int(first.max()) <= columns - allowed.shape[1])
    ):
        raise ValueError(
            f"scores {tuple(scores.shape)}, allowed {tuple(allowed.shape)} and first {tuple(first.shape)} do not match"
        )
    return _TwoWayLogSumExp.apply(scores, allowed, first)
