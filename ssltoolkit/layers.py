"""Layers that encoders and heads share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssltoolkit.kernels.activation import Activation, plain_act


class BatchNormAct(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation followed by an activation, fused into one operation in training on a CPU.

    Parameters and buffers are those of ``nn.BatchNorm2d``, under the same names.

    Args:
        channels: C.
        activation: ``identity``, ``relu`` or ``silu``.
        eps: added to the variance.
        momentum: weight of the current batch in the running statistics.

    Shape:
        (B, C), (B, C, T) or (B, C, H, W), unchanged.

    Example:
        >>> BatchNormAct(8, "silu")(torch.randn(4, 8, 24)).shape
        torch.Size([4, 8, 24])
    """

    def __init__(
        self, channels: int, activation: Activation = "relu", eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__(channels, eps, momentum)
        self.activation = activation

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"expected (B, {self.num_features}, ...), got {tuple(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        count = x.numel() // x.shape[1]
        compiled = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and torch.is_grad_enabled()
        if not self.training or not compiled or count < 2:
            return plain_act(super().forward(x), self.activation, inplace=not torch.is_grad_enabled())
        from ssltoolkit.kernels.batch_norm import batch_norm_act

        y, mean, variance = batch_norm_act(x, self.weight, self.bias, self.eps, self.activation)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return y
