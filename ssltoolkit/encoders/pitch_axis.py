"""A map from log-frequency bands to a pitch axis that keeps transpositions what they are: shifts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssltoolkit.exporting import exporting


class PitchAxis(nn.Module):
    """Logits over a learned axis of log frequency, equivariant to transposition but for the ends of the axes.

    A convolution along frequency and time brings out partials; a Toeplitz map, whose weight depends only on the
    distance between band and bin, gathers them for every bin (as the last layer of PESTO, Riou et al. 2023). Bands and
    bins are equally
    far apart: both maps move their output by as much as their input moves.

    Args:
        bands: F, of equal width in semitones.
        bins: of the axis.
        channels: of the convolution.
        kernel: bands that the convolution spans, odd.
        time_stride: fine frames per output frame.
        axes: parts of the logits in the embedding, one for each of so many groups of channels. Their sum is the logits;
            as separate values they take a larger share of the embedding.

    Raises:
        ValueError: channels that do not fall into so many groups.
    """

    #: fine frames on either side that an output frame depends on
    REACH = 1
    #: neighbouring bands whose convolution is one product
    BLOCK = 16

    def __init__(self, bands: int, bins: int, channels: int, kernel: int, time_stride: int, axes: int = 1) -> None:
        super().__init__()
        if channels % axes:
            raise ValueError(f"{channels} channels do not fall into {axes} groups")
        self.partials = nn.Conv2d(
            1, channels, (2 * self.REACH + 1, kernel), (time_stride, 1), (self.REACH, kernel // 2)
        )
        self.weight = nn.Parameter(torch.randn(channels, bands + bins - 1) * 0.1 / channels**0.5)
        self.bands, self.axes = bands, axes

    def forward(self, x: Tensor) -> Tensor:
        """Fine frames (B, T, F) to logits (B, ceil(T / time_stride), axes * bins)."""
        if torch.is_autocast_enabled(x.device.type):  # once, and before what is seen is spread out
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if exporting():
            return self._as_graph(x)
        inputs, clips = self._blocks(x), len(x)
        # Row k of the map of one channel holds the weights of distances k - F + 1 to k: bin k minus each band.
        toeplitz = self.weight.unfold(1, self.bands, 1).flip(2)
        maps = toeplitz.unflatten(0, (self.axes, -1)).permute(0, 3, 1, 2).flatten(1, 2)  # (axes, F C / axes, bins)
        logits = [self._partials(inputs, axis) @ maps[axis] for axis in range(self.axes)]
        return torch.cat(logits, dim=-1).unflatten(0, (clips, -1))

    def _as_graph(self, x: Tensor) -> Tensor:
        """The same by operations that a graph has for any length."""
        # (B, T', F, axes, C / axes)
        y = torch.relu(self.partials(x.unsqueeze(1)).permute(0, 2, 3, 1)).unflatten(3, (self.axes, -1))
        toeplitz = self.weight.unfold(1, self.bands, 1).flip(2)
        maps = toeplitz.unflatten(0, (self.axes, -1)).permute(0, 3, 1, 2).flatten(1, 2)
        return torch.cat([y[..., axis, :].flatten(2) @ maps[axis] for axis in range(self.axes)], dim=-1)

    def _blocks(self, x: Tensor) -> Tensor:
        """Of every output frame and every block of bands, what its convolution sees: (B T', blocks, height * seen)."""
        height, width = self.partials.kernel_size
        blocks, side, seen = -(-x.shape[2] // self.BLOCK), width // 2, self.BLOCK + width - 1
        padded = nn.functional.pad(x, (side, side + blocks * self.BLOCK - x.shape[2], self.REACH, self.REACH))
        # (B, T', blocks, height, seen)
        inputs = padded.unfold(1, height, self.partials.stride[0]).unfold(2, seen, self.BLOCK)
        return inputs.flatten(3).flatten(0, 1)

    def _partials(self, inputs: Tensor, axis: int) -> Tensor:
        """The rectified convolution of one axis' channels (B T', F C / axes), bands before channels.

        Products of blocks of bands with a banded matrix: faster than a convolution of one input channel, and in the
        layout that the map reads.
        """
        conv, (height, width) = self.partials, self.partials.kernel_size
        channels = slice(axis * conv.out_channels // self.axes, (axis + 1) * conv.out_channels // self.axes)
        weight, bias = conv.weight[channels, 0], conv.bias[channels]
        # By numbers and not by a mask, whose size a GPU would be waited for.
        number = torch.arange(width * self.BLOCK, device=inputs.device)
        tap, band = number // self.BLOCK, number % self.BLOCK
        banded = weight.new_zeros(height, self.BLOCK + width - 1, self.BLOCK, len(weight))
        # indexing has a gradient of no fixed order of summing
        banded[:, tap + band, band] = weight.permute(1, 2, 0).index_select(1, tap)
        y = nn.functional.linear(inputs.flatten(0, 1), banded.flatten(2).flatten(0, 1).T, bias.repeat(self.BLOCK))
        return self._rectified(y).view(len(inputs), -1)[:, : self.bands * len(weight)]

    @staticmethod
    def _rectified(y: Tensor) -> Tensor:
        if y.device.type != "cpu" or y.dtype not in (torch.float32, torch.bfloat16) or not torch.is_grad_enabled():
            return y.relu_()
        from ssltoolkit.kernels.rectifier import rectified

        return rectified(y)
