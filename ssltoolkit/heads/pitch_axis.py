"""Head for losses that compare distributions over a pitch axis."""

from __future__ import annotations

from typing import Mapping

from torch import Tensor

from ssltoolkit.encoders.outputs import columns_of, pool_scene
from ssltoolkit.errors import check_range
from ssltoolkit.heads.projection import Head, Projection
from ssltoolkit.registry import register

OUTPUT = "pitch_axis"


@register("head", "pitch_axis", provided=("embed_dim", "level", "outputs", "summed_parts"))
class PitchAxisHead(Head):
    """Logits over a log-frequency axis: the encoder's output ``pitch_axis`` if it has one, else a ``projection`` of its
    frames.

    Args:
        embed_dim: D, total columns of the encoder outputs that the head reads.
        level: ``frame`` keeps every frame, ``clip`` averages them.
        outputs: the encoder outputs that the head reads, name -> number of columns.
        summed_parts: output name -> number of equal parts summed in it.
        bins: size of the projection, for encoders without a pitch axis.

    Shape:
        (B, T', D) to (B, T', bins); for a clip-level strategy to (B, bins).

    Example:
        ``head: {name: pitch_axis}``
    """

    reads = (OUTPUT,)

    def __init__(
        self, embed_dim: int, level: str, outputs: Mapping[str, int], summed_parts: Mapping[str, int], bins: int = 264
    ) -> None:
        super().__init__()
        check_range("bins", bins, 1)
        self.level, self.parts = level, summed_parts.get(OUTPUT, 1)
        self.columns = columns_of(outputs).get(OUTPUT)
        self.out_dim = bins if self.columns is None else outputs[OUTPUT] // self.parts
        self.projection = Projection(embed_dim, "frame", bins) if self.columns is None else None

    def forward(self, h: Tensor) -> Tensor:
        if self.projection is not None:
            return self.projection(pool_scene(h, "mean") if self.level == "clip" else h)
        assert self.columns is not None
        logits = h[..., slice(*self.columns)].unflatten(-1, (self.parts, -1)).sum(-2)
        return pool_scene(logits, "mean") if self.level == "clip" else logits
