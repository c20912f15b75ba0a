"""A transformer on spectrogram patches with fine time resolution: one patch is all bands of a few frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssltoolkit.encoders.base import Encoder
from ssltoolkit.errors import ParameterError, check_range
from ssltoolkit.registry import register


def sinusoids(count: int, dim: int, device: torch.device) -> Tensor:
    """Sinusoidal encodings of positions 0 ... count - 1, (count, dim) (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10000.0) / dim))
    angle = torch.arange(count, device=device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


@register("encoder", "vit", provided=("n_mels",))
class ViT(Encoder):
    """Vision transformer (Dosovitskiy et al. 2021) with one patch per frame, as in ATST-Frame (Li et al. 2023).

    The default has 1.8 million parameters and a 40 ms hop. Attention spans the whole input, so long audio is embedded
    segment by segment. Positions are sinusoidal, so any length works.

    Args:
        n_mels: F.
        embed_dim: D, even and a multiple of ``heads``.
        layers: transformer layers.
        heads: attention heads.
        ffn_ratio: hidden size of the feed-forward layers, in multiples of D.
        patch_frames: input frames per patch: 4 gives a 40 ms hop.
        dropout: dropout in attention and feed-forward layers.

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
        for parameter in self.layers.parameters():  # nn.TransformerEncoder copies one layer: initialise each separately
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def encode(self, x: Tensor) -> Tensor:
        patches = self.patch(x.unflatten(1, (-1, self.stride)).flatten(2))
        return self.layers(patches + sinusoids(patches.shape[1], self.embed_dim, x.device))
