"""EfficientNet-B0 (Tan and Le 2019) for one-channel spectrograms, as the paper uses it."""

from __future__ import annotations

from typing import Any, List, Literal, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ssltoolkit.distributed.layers import drawn_rows
from ssltoolkit.encoders.base import Encoder
from ssltoolkit.errors import check_range
from ssltoolkit.exporting import exporting
from ssltoolkit.kernels.activation import Activation, plain_act
from ssltoolkit.layers import BatchNormAct
from ssltoolkit.registry import register

# expansion, output channels, blocks, stride of the first block, kernel: Table 1 of the EfficientNet paper.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM_CHANNELS, _LAST_CHANNELS = 32, 1280


class _DepthwiseOnCpu(torch.autograd.Function):
    """Depthwise convolution, (B, C, H, W) with weights (C, 1, k, k), with a fast backward pass on CPUs.

    oneDNN, which torch uses on CPUs, has no fast code for two gradients: the input gradient of a strided convolution in
    bfloat16 (up to 90 times slower than without a stride), and the weight gradient of kernels larger than 3 x 3 (20
    times slower). Here the first is computed without a stride, from the upstream gradient with zeros inserted. The
    second is assembled from the gradients of the four 3 x 3 kernels in the corners of a 5 x 5 kernel or, with a stride,
    of the kernels formed by its even and odd rows and columns on those of the input.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return nn.functional.conv2d(x, weight, None, stride, weight.shape[2] // 2, groups=weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Optional[Tensor], Optional[Tensor], None]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        of_x = _input_gradient(gradient, x, weight, ctx.stride) if wanted[0] else None
        return of_x, _weight_gradient(gradient, x, weight, ctx.stride) if wanted[1] else None, None


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: Tuple[int, int], padding: int, wanted: int
) -> Tensor:
    """torch's gradient of a depthwise convolution: index 0 for the input, 1 for the weights."""
    mask = [wanted == 0, wanted == 1, False]
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, [padding, padding], [1, 1], False, [0, 0], weight.shape[0], mask
    )[wanted]


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: Tuple[int, int]) -> Tensor:
    if x.dtype is torch.bfloat16 and stride != (1, 1):
        apart = torch.zeros_like(x)
        apart[:, :, :: stride[0], :: stride[1]] = gradient
        gradient, stride = apart, (1, 1)
    return _gradients(gradient, x, weight, stride, weight.shape[2] // 2, 0)


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: Tuple[int, int]) -> Tensor:
    kernel = weight.shape[2]
    if kernel <= 3:
        return _gradients(gradient, x, weight, stride, kernel // 2, 1)
    if stride == (2, 2):
        return _strided_weight_gradient(gradient, x, weight)
    padded = nn.functional.pad(x, (kernel // 2,) * 4)
    rows, columns = ((size - 1) * step + 3 for size, step in zip(gradient.shape[2:], stride))
    corner, out = weight[:, :, :3, :3].contiguous(), torch.empty_like(weight)
    for top in (0, kernel - 3):
        for left in (0, kernel - 3):
            seen = padded[:, :, top : top + rows, left : left + columns]
            out[:, :, top : top + 3, left : left + 3] = _gradients(gradient, seen, corner, stride, 0, 1)
    return out


def _strided_weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Weight gradient of a 5 x 5 kernel with stride 2: kernel rows 0, 2 and 4 only meet even rows of x, rows 1 and 3
    only odd rows.
    """
    corner, out = weight[:, :, :3, :3].contiguous(), torch.empty_like(weight)
    for row in (0, 1):
        for column in (0, 1):
            met = x[:, :, row::2, column::2]
            rows, columns = (wanted - had for wanted, had in zip(gradient.shape[2:], met.shape[2:]))
            met = nn.functional.pad(met, (0, columns, 0, rows)).contiguous(memory_format=torch.channels_last)
            small = _gradients(gradient, met, corner, (1, 1), 1, 1)
            out[:, :, row::2, column::2] = small[:, :, : 3 - row, : 3 - column]
    return out


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise ``nn.Conv2d`` with a fast backward pass on CPUs; kernels of 3 or 5.

    Args:
        channels: C. kernel: k. stride: stride over time and frequency.
    """

    def __init__(self, channels: int, kernel: Literal[3, 5], stride: Tuple[int, int]) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            x, weight = (part.to(torch.get_autocast_dtype("cpu")) for part in (x, weight))
        return _DepthwiseOnCpu.apply(x, weight, self.stride)


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and activation; in evaluation without gradients, fused into one convolution."""

    def __init__(self, conv: nn.Conv2d, activation: Activation = "identity") -> None:
        # With the published momentum of 0.01 a third of the initial statistics is left after 100 steps; through 49
        # layers, that makes the embeddings of all inputs equal.
        super().__init__(conv, BatchNormAct(conv.out_channels, activation, eps=1e-3, momentum=0.1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training or torch.is_grad_enabled() or exporting():
            return super().forward(x)
        # Fuse again in each call: it costs as much as a few rows of input, and the weights are never out of date.
        conv, norm = self
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        y = nn.functional.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)
        return plain_act(y, norm.activation, inplace=True)


def _conv_norm(
    inputs: int, outputs: int, kernel: int, stride: Tuple[int, int] = (1, 1), activation: Activation = "identity"
) -> ConvNorm:
    return ConvNorm(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), activation)


def _dense(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Compute a 1 x 1 convolution of 1 x 1 inputs, (B, C), as a matrix product, which has less overhead."""
    return nn.functional.linear(x, conv.weight.flatten(1), conv.bias)


class _WithMean(torch.autograd.Function):
    """(B, C, H, W) and its mean (B, C, 1, 1); backward adds the mean's gradient by broadcasting, without a copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tuple[Tensor, Tensor]:
        ctx.count = x.shape[2] * x.shape[3]
        # On a CPU, mean() would copy bfloat16 to float32 first.
        mean = nn.functional.avg_pool2d(x, x.shape[2:]) if x.device.type == "cpu" else x.mean(dim=(2, 3), keepdim=True)
        return x.view_as(x), mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_x: Tensor, of_mean: Tensor) -> Tensor:
        return of_x + of_mean / ctx.count


class SqueezeExcite(nn.Module):
    """Channel gates from local or whole-segment means (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, mean = (x, x.mean(dim=(2, 3), keepdim=True)) if exporting() else _WithMean.apply(x)
        gate = nn.functional.silu(_dense(mean.flatten(1), self.reduce))
        return x * torch.sigmoid(_dense(gate, self.expand))[:, :, None, None]


class InvertedBottleneck(nn.Module):
    """Expand, depthwise convolution, squeeze-and-excite, project; residual where the shapes allow (MBConv)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: Any, stride: tuple, drop_path: float) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _conv_norm(inputs, width, 1, activation="silu") if expansion > 1 else None
        self.depthwise = ConvNorm(DepthwiseConv2d(width, kernel, stride), "silu")
        self.excite = SqueezeExcite(width, max(1, inputs // 4))
        self.project = _conv_norm(width, outputs, 1)
        self.residual = stride == (1, 1) and inputs == outputs
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.excite(self.depthwise(y))
        y = self.project(y)
        if not self.residual:
            return y
        if self.training and self.drop_path > 0:
            drawn = drawn_rows(y, lambda rows: torch.rand(rows, 1, 1, 1, device=y.device, dtype=y.dtype))
            keep = drawn >= self.drop_path
            y = y * keep / (1.0 - self.drop_path)
        return x + y


@register("encoder", "efficientnet_b0", provided=("n_mels",))
class EfficientNetB0(Encoder):
    """EfficientNet-B0 on one channel, max over frequency, linear to ``embed_dim`` (the paper's encoder).

    There is no batch norm after the last convolution, as in the published network (4,004,412 parameters before the
    linear layer). Squeeze-and-excite averages over the whole input, so long audio is embedded segment by segment.

    Args:
        n_mels: F.
        embed_dim: D.
        time_stride: input frames per output frame; 32 is the published network, smaller values keep the time stride of
            the late stages at 1.
        drop_path: largest stochastic-depth rate, reached in the last block.

    Example:
        ``encoder: {name: efficientnet_b0, embed_dim: 512, time_stride: 32}``
    """

    def __init__(
        self, n_mels: int, embed_dim: int = 512, time_stride: Literal[32, 16, 8, 4] = 32, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        check_range("embed_dim", embed_dim, 1)
        check_range("drop_path", drop_path, 0.0, 0.9)
        self.embed_dim, self.stride, self.n_mels = embed_dim, time_stride, n_mels
        self.min_frames = 32
        reached = 2
        self.stem = _conv_norm(1, _STEM_CHANNELS, 3, (2, 2), "silu")
        blocks: List[nn.Module] = []
        inputs = _STEM_CHANNELS
        total = sum(stage[2] for stage in _STAGES)
        for expansion, outputs, count, stride, kernel in _STAGES:
            in_time = stride if reached * stride <= time_stride else 1
            reached *= in_time
            for index in range(count):
                step = (in_time, stride) if index == 0 else (1, 1)
                blocks.append(
                    InvertedBottleneck(inputs, outputs, expansion, kernel, step, drop_path * len(blocks) / total)
                )
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(inputs, _LAST_CHANNELS, 1, bias=False)
        self.linear = nn.Linear(_LAST_CHANNELS, embed_dim)
        self.apply(_initialise)

    def encode(self, x: Tensor) -> Tensor:
        # NCHW and NHWC coincide for C=1; these strides make torch keep channels last from here on.
        x = x.contiguous()
        y = x.unsqueeze(1) if exporting() else x.as_strided((len(x), 1, *x.shape[1:]), (x[0].numel(), 1, x.shape[2], 1))
        y = self.last(self.blocks(self.stem(y)))  # (B, 1280, T', F')
        # contiguous(): for a transposed view torch would run one product per clip, each with a copy of the weights.
        return self.linear(y.amax(dim=3).transpose(1, 2).contiguous())


def _initialise(module: nn.Module) -> None:
    """Initialise so that convolutions preserve variance; the fan-in of depthwise convolutions is one channel."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
