"""A map from log-frequency bands to a pitch axis that keeps transpositions what they are: shifts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssltoolkit.exporting import exporting


class PitchAxis(nn.Module):
    """Logits over a learned axis of log frequency, equivariant to transposition but for the ends of the axes.

    A convolution along frequency and time brings out partials; a Toeplitz map, whose weight depends only on the distance between
    band and bin, gathers them for every bin (as the last layer of PESTO, Riou et al. 2023). Bands and bins are equally
    far apart: both maps move their output by as much as their input moves.

    Args:
        bands: F, of equal width in semitones.
        bins: of the axis.
        channels: of the convolution.
        kernel: bands that the convolution spans, odd.
        time_stride: fine frames per output frame.
        axes: parts of the logits that are handed out, each what one of so many groups of channels gathers. Their sum is
            the logits; apart, they have more of a share in an embedding and say more of how a pitch came about.

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
        self.partials = nn.Conv2d(1, channels, (2 * self.REACH + 1, kernel), (time_stride, 1), (self.REACH, kernel // 2))
        self.weight = nn.Parameter(torch.randn(channels, bands + bins - 1) * 0.1 / channels**0.5)
        self.bands, self.axes = bands, axes

    def forward(self, x: Tensor) -> Tensor:
        """Fine frames (B, T, F) to logits (B, ceil(T / time_stride), axes * bins)."""
        y = torch.relu(self._convolved(x)).unflatten(3, (self.axes, -1))
        groups = y.flatten(0, 1).permute(2, 0, 1, 3).flatten(2)  # (axes, B T', F C / axes)
        # Row k of the map of one channel holds the weights of distances k - F + 1 to k: bin k minus each band.
        toeplitz = self.weight.unfold(1, self.bands, 1).flip(2)
        maps = toeplitz.unflatten(0, (self.axes, -1)).permute(0, 3, 1, 2).flatten(1, 2)
        return torch.bmm(groups, maps).transpose(0, 1).flatten(1).unflatten(0, y.shape[:2])

    def _convolved(self, x: Tensor) -> Tensor:
        """The convolution (B, T', F, C): products of blocks of bands with a banded matrix, faster than with one input channel."""
        if exporting():
            return self.partials(x.unsqueeze(1)).permute(0, 2, 3, 1)
        conv, bands = self.partials, x.shape[2]
        height, width = conv.kernel_size
        blocks, side, seen = -(-bands // self.BLOCK), width // 2, self.BLOCK + width - 1
        padded = nn.functional.pad(x, (side, side + blocks * self.BLOCK - bands, self.REACH, self.REACH))
        inputs = padded.unfold(1, height, conv.stride[0]).unfold(2, seen, self.BLOCK)  # (B, T', blocks, height, seen)
        tap = torch.arange(seen, device=x.device)[:, None] - torch.arange(self.BLOCK, device=x.device)
        met = (tap >= 0) & (tap < width)
        banded = conv.weight.new_zeros(height, *met.shape, conv.out_channels)
        banded[:, met] = conv.weight[:, 0].permute(1, 2, 0).index_select(1, tap[met])  # as in cnn_small, for its gradient
        y = torch.addmm(conv.bias.repeat(self.BLOCK), inputs.flatten(3).flatten(0, 2), banded.flatten(2).flatten(0, 1))
        return y.view(*inputs.shape[:2], blocks * self.BLOCK, conv.out_channels)[:, :, :bands]
