"""Similarities: bilinear (COLA) and cosine with a temperature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssltoolkit.errors import check_range
from ssltoolkit.losses.base import Similarity
from ssltoolkit.registry import register


@register("similarity", "bilinear")
class Bilinear(Similarity):
    """s(a, b) = a^T W b with W learned (COLA, equation 2); unbounded, so pair it with gradient clipping.

    Example:
        ``similarity: {name: bilinear}``
    """

    def bind(self, dim: int) -> None:
        # With variance 1/dim, similarities of unit-variance embeddings are about sqrt(dim), like dot products.
        self.weight = nn.Parameter(torch.randn(dim, dim) / dim**0.5)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return torch.matmul(torch.matmul(rows, self.weight), columns.transpose(-1, -2))


@register("similarity", "cosine")
class Cosine(Similarity):
    """Cosine similarity divided by a temperature.

    Args:
        temperature: smaller is sharper; the authors used 0.2.

    Example:
        ``similarity: {name: cosine, temperature: 0.2}``
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        check_range("temperature", temperature, 0.0, open_low=True)
        self.temperature = temperature

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        rows, columns = (nn.functional.normalize(x, dim=-1, eps=1e-8) for x in (rows, columns))
        # Divide the rows, not the similarities: they are fewer values.
        return torch.matmul(rows / self.temperature, columns.transpose(-1, -2))
