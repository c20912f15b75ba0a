"""ReLU with a fast backward pass on CPUs; torch's takes three times as long in bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssltoolkit.jit import jit
from ssltoolkit.kernels.numbers import as_array, narrowed, widened
from ssltoolkit.kernels.threads import blocks, for_each

_BLOCK = 2**17


@jit(nogil=True, error_model="numpy")
def _mask(upstream, output, gradient):
    for i in range(len(output)):
        value = widened(upstream[i])
        gradient[i] = narrowed(value if widened(output[i]) > np.float32(0) else np.float32(0), gradient)


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        x.relu_()
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        gradient = torch.empty_like(output)
        flat = [as_array(part.contiguous()).reshape(-1) for part in (upstream.to(output.dtype), output, gradient)]
        for_each(_mask, [tuple(part[first:last] for part in flat) for first, last in blocks(output.numel(), _BLOCK)])
        return gradient


def rectified(x: Tensor) -> Tensor:
    """max(x, 0), in place.

    Args:
        x: contiguous, float32 or bfloat16 on the CPU, not used elsewhere.
    """
    return _Rectified.apply(x)
