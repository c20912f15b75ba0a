"""Layers that operate on the global batch although each process holds only some of its rows."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

import torch
from torch import Tensor, nn

from ssltoolkit.distributed.collectives import current_shard, gathered_blocks, summed
from ssltoolkit.kernels.activation import Activation, plain_act
from ssltoolkit.layers import BatchNormAct


def drawn_rows(x: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
    """Random rows for ``x`` that do not depend on the number of processes.

    Args:
        x: tensor whose first dimension is clips, or views times clips.
        draw: function from a number of rows to random numbers of torch's global generator.
    """
    shard = current_shard()
    if shard is None or x.shape[0] % shard.count:
        return draw(x.shape[0])
    views = x.shape[0] // shard.count
    whole = draw(views * shard.total)
    return whole.unflatten(0, (views, shard.total))[:, shard.first : shard.last].flatten(0, 1)


class SharedDropout(nn.Dropout):
    """Dropout with a mask drawn for the whole batch; each process uses its rows."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0 or current_shard() is None:
            return super().forward(x)
        return x * drawn_rows(x, lambda rows: self._mask(x, rows))

    def _mask(self, x: Tensor, rows: int) -> Tensor:
        ones = x.new_ones((rows, *x.shape[1:]))
        if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            ones = ones.contiguous(memory_format=torch.channels_last)  # masks are drawn in the order of memory
        return nn.functional.dropout(ones, self.p, True)


class SyncedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the statistics of the whole batch, on any device (torch's own needs a GPU).

    Statistics are combined from each process's count, mean and sum of squared deviations (Chan et al. 1983), which is
    more precise than sums of squares. ``activation`` is that of the :class:`~ssltoolkit.layers.BatchNormAct` that it
    replaces.
    """

    activation: Activation = "identity"

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected (B, C, ...), got {tuple(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or current_shard() is None:
            return plain_act(super().forward(x), self.activation)
        self._check_input_dim(x)
        mean, variance, count = _global_statistics(x.detach())
        self._follow(mean, variance, count)
        return plain_act(_Normalise.apply(x, self.weight, self.bias, mean, variance, count, self.eps), self.activation)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1).clamp_min(1.0))
        self.running_mean.mul_(1.0 - share).add_(mean.to(self.running_mean), alpha=share)
        self.running_var.mul_(1.0 - share).add_(unbiased.to(self.running_var), alpha=share)


def _axes(x: Tensor) -> List[int]:
    return [0, *range(2, x.dim())]


def _wide(x: Tensor) -> Tensor:
    """Cast to at least single precision, for statistics."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _shaped(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.view(1, -1, *[1] * (x.dim() - 2))


def _global_statistics(x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), biased variance (C,) and count () over the rows of all processes."""
    variance, mean = torch.var_mean(_wide(x), _axes(x), correction=0)
    count = mean.new_tensor([x.numel() // x.shape[1]])
    blocks = torch.stack(gathered_blocks(torch.cat([mean, variance, count])))
    means, variances = blocks[:, :-1].chunk(2, dim=1)
    counts = blocks[:, -1:]
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    variance = ((variances + (means - mean).square()) * counts).sum(0) / total
    return mean, variance, total


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Optional[Tensor],
        bias: Optional[Tensor],
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), count)
        return nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight, mean, scale, count = ctx.saved_tensors
        axes, upstream = _axes(x), _wide(gradient)
        normal = (_wide(x) - _shaped(mean, x)) * _shaped(scale, x)
        by_bias, by_weight = upstream.sum(axes), (upstream * normal).sum(axes)
        whole = summed(torch.cat([by_bias, by_weight])) / count
        first, second = (_shaped(part, x) for part in whole.chunk(2))
        inner = scale if weight is None else scale * _wide(weight)
        by_x = _shaped(inner, x) * (upstream - first - normal * second)
        affine = (None, None) if weight is None else (by_weight.to(weight), by_bias.to(weight))
        return (by_x.to(x.dtype), *affine, None, None, None, None)


_SYNCED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct)


def span_processes(module: nn.Module) -> None:
    """Replace batch normalisation and dropout in ``module`` by versions that span processes; parameters are kept."""
    for name, child in module.named_children():
        if type(child) in _SYNCED:
            setattr(module, name, _synced(child))
        elif type(child) is nn.Dropout:
            setattr(module, name, SharedDropout(child.p))
        else:
            span_processes(child)


def _synced(norm: nn.Module) -> SyncedBatchNorm:
    synced = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    synced.weight, synced.bias = norm.weight, norm.bias
    synced.activation = getattr(norm, "activation", "identity")
    for name, buffer in norm.named_buffers():
        setattr(synced, name, buffer)
    synced.requires_grad_(norm.weight.requires_grad if norm.affine else True)
    return synced.train(norm.training)
