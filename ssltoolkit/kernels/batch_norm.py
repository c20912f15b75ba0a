"""Fused batch normalisation and activation on CPUs, forward and backward, with few passes over memory.

torch makes four passes forward (two for the statistics, one to normalise, one for the activation) and four backward,
and saves two tensors. Here the second forward pass already writes the activation's output, the backward pass recomputes
the normalised value from the input, and only the input is saved.

Symbols: N rows (every position of every clip), C channels; m, v mean and biased variance of a channel, s = 1 / sqrt(v +
eps), n = (x - m) s, z = weight n + bias, y = act(z), g = dL/dz = dL/dy act'(z). Then dL/dx = weight s (g - mean(g) -
n mean(g n)) (Ioffe and Szegedy 2015)."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssltoolkit.jit import jit
from ssltoolkit.kernels.activation import Activation
from ssltoolkit.kernels.numbers import as_array, exp, narrowed, widened
from ssltoolkit.kernels.threads import blocks, for_each

_CODES = {"identity": 0, "relu": 1, "silu": 2}
#: rows summed in float32 before adding to a double-precision sum
_BLOCK = 1024
#: minimum length of the innermost loops
_WIDE = 512


@jit(nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _moments(x, shift, first, last, sums):
    """Sums of x - shift and of its square over rows first to last, into sums (2, C) float64."""
    channels = x.shape[1]
    one, two = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for i in range(first, last):
        for j in range(channels):
            value = widened(x[i, j]) - shift[j]
            one[j] += value
            two[j] += value * value
    for j in range(channels):
        sums[0, j] = one[j]
        sums[1, j] = two[j]


@jit(nogil=True, fastmath={"contract"}, error_model="numpy")
def _forward(x, mean, scale, bias, act, first, last, y):
    """y = act((x - mean) scale + bias)."""
    channels = x.shape[1]
    for i in range(first, last):
        if act == 0:
            for j in range(channels):
                y[i, j] = narrowed((widened(x[i, j]) - mean[j]) * scale[j] + bias[j], y)
        elif act == 1:
            for j in range(channels):
                y[i, j] = narrowed(max((widened(x[i, j]) - mean[j]) * scale[j] + bias[j], np.float32(0)), y)
        else:
            for j in range(channels):
                z = (widened(x[i, j]) - mean[j]) * scale[j] + bias[j]
                y[i, j] = narrowed(z / (np.float32(1) + exp(-z)), y)


@jit(nogil=True, fastmath={"contract"}, error_model="numpy", inline="always")
def _slope(z, act):
    """act'(z)."""
    if act == 0:
        return np.float32(1)
    if act == 1:
        return np.float32(1) if z > np.float32(0) else np.float32(0)
    gate = np.float32(1) / (np.float32(1) + exp(-z))
    return gate * (np.float32(1) + z * (np.float32(1) - gate))


@jit(nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _gradient_sums(x, upstream, mean, scale, bias, act, first, last, sums):
    """Sums of g and of g (x - mean) over rows first to last, into sums (2, C) float64."""
    channels = x.shape[1]
    one, two = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for i in range(first, last):
        # Separate loop for ReLU: with the branch inside the loop it takes three times as long.
        if act == 1:
            for j in range(channels):
                value = widened(x[i, j]) - mean[j]
                g = widened(upstream[i, j])
                g = g if value * scale[j] + bias[j] > np.float32(0) else np.float32(0)
                one[j] += g
                two[j] += g * value
        else:
            for j in range(channels):
                value = widened(x[i, j]) - mean[j]
                g = widened(upstream[i, j]) * _slope(value * scale[j] + bias[j], act)
                one[j] += g
                two[j] += g * value
    for j in range(channels):
        sums[0, j] = one[j]
        sums[1, j] = two[j]


@jit(nogil=True, fastmath={"contract"}, error_model="numpy")
def _backward(x, upstream, mean, scale, bias, act, constant, slope, first, last, gradient):
    """dL/dx = scale g - constant - slope (x - mean)."""
    channels = x.shape[1]
    for i in range(first, last):
        if act == 1:
            for j in range(channels):
                value = widened(x[i, j]) - mean[j]
                g = widened(upstream[i, j])
                g = g if value * scale[j] + bias[j] > np.float32(0) else np.float32(0)
                gradient[i, j] = narrowed(scale[j] * g - constant[j] - slope[j] * value, gradient)
        else:
            for j in range(channels):
                value = widened(x[i, j]) - mean[j]
                g = widened(upstream[i, j]) * _slope(value * scale[j] + bias[j], act)
                gradient[i, j] = narrowed(scale[j] * g - constant[j] - slope[j] * value, gradient)


def _rows(x: Tensor) -> Tensor:
    """(B, C, ...) as (N, C), without a copy if the memory format is channels-last."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _fold(rows: int, channels: int) -> int:
    """Number of rows to process as one, because a loop over few channels is mostly overhead."""
    fold = 1
    while channels * fold < _WIDE and rows % (2 * fold) == 0:
        fold *= 2
    return fold


def _summed(kernel: Any, tensors: Tuple[np.ndarray, ...], channels: Tuple[Any, ...]) -> np.ndarray:
    """Sums (2, C) float64 of a kernel over all rows, in an order that does not depend on the number of threads."""
    rows, width = tensors[0].shape
    fold = _fold(rows, width)
    arrays = [*(x.reshape(-1, width * fold) for x in tensors), *(_tiled(part, fold) for part in channels)]
    parts = blocks(rows // fold, max(1, _BLOCK // fold))
    sums = np.empty((len(parts), 2, width * fold))
    for_each(kernel, [(*arrays, first, last, sums[k]) for k, (first, last) in enumerate(parts)])
    return sums.sum(0).reshape(2, fold, width).sum(1)


def _filled(kernel: Any, tensors: Tuple[np.ndarray, ...], channels: Tuple[Any, ...], out: np.ndarray) -> None:
    rows, width = out.shape
    fold = _fold(rows, width)
    arrays = [*(x.reshape(-1, width * fold) for x in tensors), *(_tiled(part, fold) for part in channels)]
    wide = out.reshape(-1, width * fold)
    for_each(kernel, [(*arrays, first, last, wide) for first, last in blocks(len(wide), max(1, 8 * _BLOCK // fold))])


def _tiled(part: Any, fold: int) -> Any:
    return np.tile(part, fold) if isinstance(part, np.ndarray) else part


class _BatchNormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, act: int
    ) -> Tuple[Tensor, Tensor, Tensor]:
        rows = _rows(x)
        values, count = as_array(rows), len(rows)
        # Subtract one of the values first, so that sums of squares lose little precision.
        shift = as_array(rows[0].float()).copy()
        first, second = _summed(_moments, (values,), (shift,)) / count
        with np.errstate(invalid="ignore"):  # non-finite values propagate to the output
            mean, variance = (first + shift).astype(np.float32), np.maximum(second - first * first, 0.0)
        inverse = 1.0 / np.sqrt(variance + eps)
        scale, offset = (inverse * as_array(weight)).astype(np.float32), as_array(bias.float())
        y = torch.empty_like(rows)
        _filled(_forward, (values,), (mean, scale, offset, act), as_array(y))
        mean, inverse = torch.from_numpy(mean), torch.from_numpy(inverse.astype(np.float32))
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.act = act
        variance = torch.from_numpy(variance.astype(np.float32))
        ctx.mark_non_differentiable(mean, variance)
        return y.view(*x.movedim(1, -1).shape).movedim(-1, 1), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        rows, given = _rows(x), _rows(upstream).to(x.dtype).contiguous()
        count = len(rows)
        scale = (inverse * weight.float()).numpy()
        tensors, normal = (as_array(rows), as_array(given)), (mean.numpy(), scale, as_array(bias.float()), ctx.act)
        by_bias, by_value = _summed(_gradient_sums, tensors, normal)
        s = inverse.numpy().astype(np.float64)
        by_weight = by_value * s
        constant = (scale * by_bias / count).astype(np.float32)
        slope = (scale * s * by_weight / count).astype(np.float32)
        gradient = torch.empty_like(rows)
        _filled(_backward, tensors, (*normal, constant, slope), as_array(gradient))
        of_x = gradient.view(*x.movedim(1, -1).shape).movedim(-1, 1)
        return of_x, torch.from_numpy(by_weight).to(weight.dtype), torch.from_numpy(by_bias).to(bias.dtype), None, None


def batch_norm_act(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, activation: Activation
) -> Tuple[Tensor, Tensor, Tensor]:
    """Normalise by the statistics of this batch, scale, and apply the activation.

    Args:
        x: (B, C, ...) float32 or bfloat16 on the CPU; fastest in channels-last memory format.
        weight, bias: (C,).
        eps: added to the variance.
        activation: activation to apply.

    Returns:
        y like x, and the mean (C,) and biased variance (C,) float32 of the batch, without gradient.

    Raises:
        ValueError: inconsistent shapes.
    """
    if x.dim() < 2 or weight.shape != (x.shape[1],) or bias.shape != weight.shape:
        raise ValueError(f"x {tuple(x.shape)}, weight {tuple(weight.shape)} and bias {tuple(bias.shape)} do not match")
    return _BatchNormAct.apply(x, weight, bias, eps, _CODES[activation])
