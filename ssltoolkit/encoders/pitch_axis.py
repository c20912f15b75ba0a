"""A transposition-equivariant map from log-frequency bands to a pitch axis: transposing shifts its output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssltoolkit.exporting import exporting


class PitchAxis(nn.Module):
    """Logits over a learned log-frequency axis, equivariant to transposition except at the ends of the axis.

    A convolution along frequency and time enhances partials. A Toeplitz map, whose weights depend only on the distance
    between band and bin, sums them for every bin (like the last layer of PESTO, Riou et al. 2023). Bands and bins have
    the same spacing, so a shift of the input shifts the output by the same amount.

    Args:
        bands: F, of equal width in semitones.
        bins: number of bins of the axis.
        channels: channels of the convolution.
        kernel: bands that the convolution spans, odd.
        time_stride: fine frames per output frame.
        axes: number of groups of channels, each of which contributes its own part of the logits to the embedding. The
            logits are the sum of the parts; as separate values they take a larger share of the embedding.

    Raises:
        ValueError: ``channels`` is not a multiple of ``axes``.
    """

    #: fine frames on either side that an output frame depends on
    REACH = 1
    #: neighbouring bands whose convolution is one product
    BLOCK = 16

    def __init__(self, bands: int, bins: int, channels: int, kernel: int, time_stride: int, axes: int = 1) -> None:
        super().__init__()
        if channels % axes:
            raise ValueError(f"{channels} channels cannot be split into {axes} equal groups")
        self.partials = nn.Conv2d(
            1, channels, (2 * self.REACH + 1, kernel), (time_stride, 1), (self.REACH, kernel // 2)
        )
        self.weight = nn.Parameter(torch.randn(channels, bands + bins - 1) * 0.1 / channels**0.5)
        self.bands, self.axes = bands, axes

    def forward(self, x: Tensor) -> Tensor:
        """Fine frames (B, T, F) to logits (B, ceil(T / time_stride), axes * bins)."""
        if torch.is_autocast_enabled(x.device.type):  # cast once, before unfold() makes the data larger
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if exporting():
            return self._as_graph(x)
        inputs, clips = self._blocks(x), len(x)
        # Row k of one channel's map holds the weights of the distances k - F + 1 ... k, bin k minus each band.
        toeplitz = self.weight.unfold(1, self.bands, 1).flip(2)
        maps = toeplitz.unflatten(0, (self.axes, -1)).permute(0, 3, 1, 2).flatten(1, 2)  # (axes, F C / axes, bins)
        logits = [self._partials(inputs, axis) @ maps[axis] for axis in range(self.axes)]
        return torch.cat(logits, dim=-1).unflatten(0, (clips, -1))

    def _as_graph(self, x: Tensor) -> Tensor:
        """The same computation with operations that export to a graph of variable length."""
        # (B, T', F, axes, C / axes)
        y = torch.relu(self.partials(x.unsqueeze(1)).permute(0, 2, 3, 1)).unflatten(3, (self.axes, -1))
        toeplitz = self.weight.unfold(1, self.bands, 1).flip(2)
        maps = toeplitz.unflatten(0, (self.axes, -1)).permute(0, 3, 1, 2).flatten(1, 2)
        return torch.cat([y[..., axis, :].flatten(2) @ maps[axis] for axis in range(self.axes)], dim=-1)

    def _blocks(self, x: Tensor) -> Tensor:
        """Receptive field of the convolution, per output frame and block of bands: (B T', blocks, height * seen)."""
        height, width = self.partials.kernel_size
        blocks, side, seen = -(-x.shape[2] // self.BLOCK), width // 2, self.BLOCK + width - 1
        padded = nn.functional.pad(x, (side, side + blocks * self.BLOCK - x.shape[2], self.REACH, self.REACH))
        # (B, T', blocks, height, seen)
        inputs = padded.unfold(1, height, self.partials.stride[0]).unfold(2, seen, self.BLOCK)
        return inputs.flatten(3).flatten(0, 1)

    def _partials(self, inputs: Tensor, axis: int) -> Tensor:
        """Convolution and ReLU of one axis's channels, (B T', F C / axes), bands before channels.

        Multiplies blocks of bands by a banded matrix, which is faster than a convolution of one input channel and gives
        the layout that the Toeplitz map reads.
        """
        conv, (height, width) = self.partials, self.partials.kernel_size
        channels = slice(axis * conv.out_channels // self.axes, (axis + 1) * conv.out_channels // self.axes)
        weight, bias = conv.weight[channels, 0], conv.bias[channels]
        # Index by numbers: a boolean mask would make the CPU wait for the GPU to know the size.
        number = torch.arange(width * self.BLOCK, device=inputs.device)
        tap, band = number // self.BLOCK, number % self.BLOCK
        banded = weight.new_zeros(height, self.BLOCK + width - 1, self.BLOCK, len(weight))
        # index_select, because the gradient of indexing sums in an undefined order
        banded[:, tap + band, band] = weight.permute(1, 2, 0).index_select(1, tap)
        y = nn.functional.linear(inputs.flatten(0, 1), banded.flatten(2).flatten(0, 1).T, bias.repeat(self.BLOCK))
        return self._rectified(y).view(len(inputs), -1)[:, : self.bands * len(weight)]

    @staticmethod
    def _rectified(y: Tensor) -> Tensor:
        if y.device.type != "cpu" or y.dtype not in (torch.float32, torch.bfloat16) or not torch.is_grad_enabled():
            return y.relu_()
        from ssltoolkit.kernels.rectifier import rectified

        return rectified(y)
