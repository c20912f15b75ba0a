"""The CPU default: a strided convolutional network with residual context over time."""

from __future__ import annotations

from typing import Any, Callable, Dict, Literal, Mapping, Optional, Sequence

from torch import Tensor, nn

from ssltoolkit.encoders.base import Encoder
from ssltoolkit.encoders.depthwise import DepthwiseConv1d
from ssltoolkit.encoders.pitch_axis import PitchAxis
from ssltoolkit.errors import ParameterError, check_range
from ssltoolkit.exporting import exporting
from ssltoolkit.frontends.logmel_dual import STEP
from ssltoolkit.layers import BatchNormAct
from ssltoolkit.registry import register


def _conv_block(inputs: int, outputs: int, kernel: tuple, stride: tuple) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, tuple(size // 2 for size in kernel), bias=False)
    return nn.Sequential(conv, BatchNormAct(outputs, "relu"))


class PointwiseNorm(nn.Sequential):
    """Linear map of each frame, batch normalisation and ReLU: (B, T, C) to (B, T, C')."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv1d(inputs, outputs, 1, bias=False), BatchNormAct(outputs, "relu"))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.linear(x, self[0].weight[..., 0])
        return self[1](y.flatten(0, 1)).view_as(y)


class TimeContext(nn.Module):
    """Residual block over time: a depthwise convolution over neighbouring frames, then a pointwise one over channels.
    (B, T, C) to (B, T, C).
    """

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.reach = dilation * (kernel // 2)
        self.depthwise = DepthwiseConv1d(channels, kernel, dilation)
        self.pointwise = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm = BatchNormAct(channels, "relu")

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.linear(self.depthwise(x), self.pointwise.weight[..., 0])
        return x + self.norm(y.flatten(0, 1)).view_as(y)


@register("encoder", "cnn_small", provided=("n_mels", "parts"))
class CnnSmall(Encoder):
    """Four strided 3x3 convolutions that keep four bands of frequency resolution, and a linear map of each frame's
    log-mel.

    There is no projection after the convolutions: learning invariances is left to the heads. Residual blocks over time
    add up to half a second of context on either side of a frame; their output is appended to that of the convolutions
    or, with ``embed_dim``, replaces it. The hop is 40 ms. If the frontend also gives bands of equal width in semitones
    (``logmel_dual``), a transposition-equivariant map reads them, and its logits over a log-frequency axis are appended
    to the embedding. The outputs are ``convolutions``, ``context``, ``linear`` and ``pitch_axis``.

    Args:
        n_mels: F, over all resolutions; at least 16 in each.
        parts: number of bands of each resolution; None for one resolution.
        embed_dim: D without the pitch axis; None keeps the convolutions' output (512 values by default), the blocks'
            output and the linear map.
        width: the convolutions have 1/2, 2, 3 and 4 times this many channels; the first has few because it runs at the
            finest resolution.
        time_stride: input frames per output frame: 4 gives a 40 ms, 8 an 80 ms hop.
        context_dim: channels of the residual blocks over time; ignored if ``embed_dim`` is given.
        context_blocks: number of residual blocks over time, each with twice the dilation of the one before; 0 for no
            context.
        context_kernel: frames of each block's depthwise convolution, odd.
        skip_share: share of the D values that are a linear map of the frame's own log-mel; strided convolutions blur
            the exact frequencies that pitch needs.
        pitch_bins: number of bins of the pitch axis, spaced like the fine bands.
        pitch_axes: number of parts of its logits in the embedding, one per group of channels; their sum is the logits.
        pitch_channels: channels of the convolution over the fine bands.
        pitch_kernel: fine bands that this convolution spans, odd.

    Example:
        ``encoder: {name: cnn_small, pitch_channels: 16, pitch_axes: 2}``
    """

    def __init__(
        self,
        n_mels: int,
        parts: Optional[Sequence[int]] = None,
        embed_dim: Optional[int] = None,
        width: int = 32,
        time_stride: Literal[4, 8] = 4,
        context_dim: int = 256,
        context_blocks: int = 2,
        context_kernel: int = 9,
        skip_share: float = 0.2,
        pitch_bins: int = 264,
        pitch_channels: int = 8,
        pitch_kernel: int = 15,
        pitch_axes: int = 1,
    ) -> None:
        super().__init__()
        n_mels, *fine = parts or (n_mels,)
        check_range("n_mels", n_mels, 16)
        if embed_dim is not None:
            check_range("embed_dim", embed_dim, 1)
        check_range("width", width, 2)
        check_range("context_dim", context_dim, 1)
        check_range("context_blocks", context_blocks, 0, 8)
        check_range("context_kernel", context_kernel, 1, 99)
        check_range("skip_share", skip_share, 0.0, 0.9)
        check_range("pitch_bins", pitch_bins, 1)
        check_range("pitch_channels", pitch_channels, 1)
        check_range("pitch_kernel", pitch_kernel, 1)
        check_range("pitch_axes", pitch_axes, 1)
        if pitch_channels % pitch_axes:
            raise ParameterError("pitch_axes", f"must divide pitch_channels ({pitch_channels}), got {pitch_axes}")
        for name, kernel in (("context_kernel", context_kernel), ("pitch_kernel", pitch_kernel)):
            if kernel % 2 == 0:
                raise ParameterError(name, f"must be odd, got {kernel}")
        self.stride, self.n_mels = time_stride, n_mels
        channels = (width // 2, 2 * width, 3 * width, 4 * width)
        # More bands increase the first frequency stride; the rest of the network keeps its size.
        first = max(2, n_mels // 32)
        third = (2, 2 if time_stride == 8 else 1)
        # Keep time as the last axis: convolution gradients over rows of only four bands take several times as long.
        self.convs = nn.Sequential(
            _conv_block(1, channels[0], (2 * first + 1, 5), (first, 2)),
            _conv_block(channels[0], channels[1], (3, 3), (2, 2)),
            _conv_block(channels[1], channels[2], (3, 3), third),
            _conv_block(channels[2], channels[3], (3, 3), (2, 1)),
        )
        bands = -(-n_mels // (8 * first))
        wide = channels[3] * bands
        skip_dim = round(skip_share * (embed_dim or wide / (1.0 - skip_share)))
        learned = context_dim if embed_dim is None else embed_dim - skip_dim
        self.appended = embed_dim is None
        self.context = nn.Sequential()
        if context_blocks or not self.appended:
            self.context.append(PointwiseNorm(wide, learned))
            self.context.extend(TimeContext(learned, context_kernel, 2**block) for block in range(context_blocks))
        sizes = {
            "convolutions": wide if self.appended else 0,
            "context": learned if len(self.context) else 0,
            "linear": skip_dim,
        }
        self.skip: Any = nn.Linear(n_mels * time_stride, skip_dim) if skip_dim else None
        self.context_frames = time_stride * (
            3 + sum(block.reach for block in self.context if isinstance(block, TimeContext))
        )
        self.pitch: Any = None
        if fine:
            check_range("fine bands", fine[0], 1)
            self.pitch = PitchAxis(fine[0], pitch_bins, pitch_channels, pitch_kernel, time_stride // STEP, pitch_axes)
            sizes["pitch_axis"] = pitch_axes * pitch_bins
            self.summed_parts = {"pitch_axis": pitch_axes}
            self.context_frames = max(self.context_frames, PitchAxis.REACH * STEP + time_stride)
        self.outputs = {name: size for name, size in sizes.items() if size}
        self.embed_dim = sum(sizes.values())

    def encode_outputs(self, x: Tensor, rows: Optional[Mapping[str, Optional[Tensor]]] = None) -> Dict[str, Tensor]:
        rows = dict.fromkeys(self.outputs) if rows is None else rows
        coarse = x[..., : self.n_mels]
        made: Dict[str, Callable[[], Tensor]] = {
            "linear": lambda: self.skip(coarse.unflatten(1, (-1, self.stride)).flatten(2))
        }
        if self.appended and "convolutions" in rows or "context" in rows:
            # Encode all rows whichever are requested: batch normalisation needs the whole batch.
            h = _over_bands(self.convs, coarse)
            made.update(convolutions=lambda: h, context=lambda: self.context(h))
        parts = {name: made[name]() for name in self.outputs if name in rows and name in made}
        parts = {name: part if rows[name] is None else part[rows[name]] for name, part in parts.items()}
        if "pitch_axis" in self.outputs and "pitch_axis" in rows:
            fine = x[:, ::STEP, self.n_mels :]
            wanted = rows["pitch_axis"]
            parts["pitch_axis"] = self.pitch(fine if wanted is None else fine[wanted])
        return parts


def _over_bands(convs: nn.Module, x: Tensor) -> Tensor:
    """Apply 2-D convolutions to (B, T, F); their output (B, C, F', T') is returned as (B, T', F' C)."""
    y = x.transpose(1, 2).contiguous()
    if exporting():
        return convs(y.unsqueeze(1)).permute(0, 3, 2, 1).flatten(2)
    # NCHW and NHWC coincide for C=1; these strides make torch keep channels last from here on.
    y = y.as_strided((len(y), 1, *y.shape[1:]), (y[0].numel(), 1, y.shape[2], 1))
    return convs(y).permute(0, 3, 2, 1).flatten(2)
