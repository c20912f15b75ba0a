"""Depthwise convolution over time with channels last, and its gradients, on CPUs.

oneDNN, which torch uses on CPUs, has no fast code for the gradients of such convolutions: with dilation, backward takes
ten times as long as forward.

Symbols: B clips, T frames, C channels, K taps. y[b, t] = sum over k of w[k] x[b, t + (k - K // 2) dilation],
zero-padded."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssltoolkit.jit import jit
from ssltoolkit.kernels.numbers import as_array, narrowed, widened
from ssltoolkit.kernels.threads import blocks, for_each

_CLIPS = 16


@jit(nogil=True, fastmath={"contract"}, error_model="numpy")
def _convolve(x, weight, dilation, first, last, y):
    """y of clips first to last; with reversed taps, the gradient of x from that of y."""
    taps, channels = weight.shape
    frames = x.shape[1]
    total = np.empty(channels, np.float32)
    for b in range(first, last):
        for t in range(frames):
            total[:] = np.float32(0)
            for k in range(taps):
                source = t + (k - taps // 2) * dilation
                if 0 <= source < frames:
                    row, w = x[b, source], weight[k]
                    for j in range(channels):
                        total[j] += w[j] * widened(row[j])
            row = y[b, t]
            for j in range(channels):
                row[j] = narrowed(total[j], y)


@jit(nogil=True, fastmath={"contract"}, error_model="numpy")
def _weigh(x, upstream, dilation, first, last, gradient):
    """Gradient (K, C) float32 of the weights from clips first to last."""
    taps, channels = gradient.shape
    frames = x.shape[1]
    gradient[:] = np.float32(0)
    for b in range(first, last):
        for t in range(frames):
            given = upstream[b, t]
            for k in range(taps):
                source = t + (k - taps // 2) * dilation
                if 0 <= source < frames:
                    row, out = x[b, source], gradient[k]
                    for j in range(channels):
                        out[j] += widened(given[j]) * widened(row[j])


def _apply(x: Tensor, weight: np.ndarray, dilation: int) -> Tensor:
    y = torch.empty_like(x)
    for_each(
        _convolve, [(as_array(x), weight, dilation, first, last, as_array(y)) for first, last in blocks(len(x), _CLIPS)]
    )
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        x = x.contiguous()
        taps = np.ascontiguousarray(as_array(weight[:, 0].float()).T)
        ctx.save_for_backward(x, weight)
        ctx.taps, ctx.dilation = taps, dilation
        return _apply(x, taps, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        upstream = upstream.to(x.dtype).contiguous()
        of_x = _apply(upstream, np.ascontiguousarray(ctx.taps[::-1]), ctx.dilation)
        parts = blocks(len(x), _CLIPS)
        sums = np.empty((len(parts), *ctx.taps.shape), np.float32)
        for_each(
            _weigh, [(as_array(x), as_array(upstream), ctx.dilation, *part, sums[k]) for k, part in enumerate(parts)]
        )
        of_weight = torch.from_numpy(np.ascontiguousarray(sums.sum(0, dtype=np.float64).T))
        return of_x, of_weight.to(weight.dtype)[:, None], None


def depthwise(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Depthwise convolution over time.

    Args:
        x: (B, T, C) float32 or bfloat16 on the CPU.
        weight: (C, 1, K), K odd, as in ``nn.Conv1d``.
        dilation: frames between taps.

    Returns:
        y like x.

    Raises:
        ValueError: inconsistent shapes.
    """
    if x.dim() != 3 or weight.dim() != 3 or weight.shape[:2] != (x.shape[2], 1) or weight.shape[2] % 2 == 0:
        raise ValueError(
            f"x {tuple(x.shape)} and weight {tuple(weight.shape)} do not match: expected (B, T, C) and (C, 1, K), K odd"
        )
    return _Depthwise.apply(x, weight, dilation)
