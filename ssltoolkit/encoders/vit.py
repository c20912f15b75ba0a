"""A transformer on spectrogram patches that keep time fine: all bands of a few frames are one patch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssltoolkit.encoders.base import Encoder
from ssltoolkit.errors import ParameterError, check_range
from ssltoolkit.registry import register


def sinusoids(count: int, dim: int, device: torch.device) -> Tensor:
    """Positions 0 ... count - 1 as sines and cosines, (count, dim) (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10000.0) / dim))
    angle = torch.arange(count, device=device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


@register("encoder", "vit", provided=("n_mels",))
class ViT(Encoder):
    """Vision transformer (Dosovitskiy et al. 2021) with one patch a frame, as in ATST-Frame (Li et al. 2023).

    With the defaults 1.8 million parameters, 40 ms hop. Attention sees the whole input, so embeddings of long audio are
    taken segment by segment; positions are sines, so any length works.

    Args:
        n_mels: F.
        embed_dim: D, even and a multiple of ``heads``.
        layers: transformer layers.
        heads: of the attention.
        ffn_ratio: hidden size of the feed-forward parts, in multiples of D.
        patch_frames: input frames per patch: 4 is a 40 ms hop.
        dropout: in attention and feed-forward parts.

    Example:
        ``encoder: {name: vit, embed_dim: 192, layers: 4}``
    """

    def __init__(
        self,
        n_mels: int,
        embed_dim: int = 192,
        layers: int = 4,
        heads: int = 4,
        ffn_ratio: int = 4,
        patch_frames: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_range("n_mels", n_mels, 1)
        check_range("layers", layers, 1, 48)
        check_range("heads", heads, 1)
        check_range("ffn_ratio", ffn_ratio, 1, 16)
        check_range("patch_frames", patch_frames, 1, 64)
        check_range("dropout", dropout, 0.0, 0.9)
        if embed_dim < 2 or embed_dim % 2 or embed_dim % heads:
            raise ParameterError("embed_dim", f"must be even and a multiple of heads ({heads}), got {embed_dim}")
        self.embed_dim, self.stride, self.n_mels = embed_dim, patch_frames, n_mels
        self.patch = nn.Linear(n_mels * patch_frames, embed_dim)
        layer = nn.TransformerEncoderLayer(
            embed_dim, heads, ffn_ratio * embed_dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(embed_dim), enable_nested_tensor=False)
        for parameter in self.layers.parameters():  # the layers are copies of one: draw each anew
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def encode(self, x: Tensor) -> Tensor:
        patches = self.patch(x.unflatten(1, (-1, self.stride)).flatten(2))
        return self.layers(patches + sinusoids(patches.shape[1], self.embed_dim, x.device))
