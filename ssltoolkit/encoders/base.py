"""The interface of an encoder.

Shapes: B batch, T input frames, F mel bands, T' output frames, D embedding size.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from ssltoolkit.encoders.outputs import columns_of, pool_scene
from ssltoolkit.errors import ConfigError
from ssltoolkit.exporting import exporting, pad_time
from ssltoolkit.registry import REGISTRY, nearest

#: in ``embedding.scene``: all outputs without a pooling of their own
OTHERS = "others"


@REGISTRY.base("encoder")
class Encoder(nn.Module):
    """An encoder network f; h = f(x) has one embedding per output frame.

    Attributes:
        embed_dim: D.
        outputs: named outputs in column order, name -> number of columns; empty for a single output named ``output``.
        summed_parts: output name -> number of equal parts that it concatenates; their sum is the actual output.
        stride: input frames per output frame; output frame j covers input frames j * stride ... (j + 1) * stride - 1.
        min_frames: shortest input; shorter inputs are padded.
        context_frames: input frames on either side, besides its own, that an output frame depends on; None if it
            depends on the whole input. Long audio must then be embedded segment by segment.
        bands: number of leading bands of the input that are read; None for all.
        pad_value: value that pads the input to a whole number of output frames; 0 is the mean of normalised features.
    """

    embed_dim: int
    outputs: Mapping[str, int] = {}
    summed_parts: Mapping[str, int] = {}
    stride: int
    min_frames: int = 1
    context_frames: Optional[int] = None
    bands: Optional[int] = None
    pad_value: float = 0.0

    def encode(self, x: Tensor) -> Tensor:
        """(B, T, F), T a multiple of ``stride``, to (B, T / stride, D)."""
        raise NotImplementedError

    def encode_outputs(self, x: Tensor, rows: Optional[Mapping[str, Optional[Tensor]]] = None) -> Dict[str, Tensor]:
        """Like :meth:`encode`, by named output. An encoder that can compute its outputs separately implements this
        method instead.

        Args:
            x: (B, T, F), T a multiple of ``stride``.
            rows: output -> requested rows of the batch, (R,) int64, or None for all rows; outputs that are not named
                are not requested. None requests all rows of all outputs.

        Returns:
            output -> (R, T / stride, columns) of each requested output.
        """
        h = self.encode(x)
        parts = dict(zip(self.named_outputs(), h.split(list(self.named_outputs().values()), dim=-1)))
        rows = dict.fromkeys(parts) if rows is None else rows
        return {name: part if rows[name] is None else part[rows[name]] for name, part in parts.items() if name in rows}

    def named_outputs(self) -> Dict[str, int]:
        """``outputs``; a single unnamed output is called ``output``."""
        return dict(self.outputs) or {"output": self.embed_dim}

    def forward(self, x: Tensor) -> Tensor:
        """Normalised log-mel (B, T, F) to (B, ceil(T / stride), D); the end is padded with ``pad_value``.

        Raises:
            ValueError: x is not of shape (B, T, F) with T at least 1.
        """
        if type(self).encode_outputs is Encoder.encode_outputs:
            x, frames = self._whole_frames(x)
            return self.encode(x)[:, :frames]
        parts = list(self.by_output(x).values())
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def by_output(self, x: Tensor, rows: Optional[Mapping[str, Optional[Tensor]]] = None) -> Dict[str, Tensor]:
        """Like :meth:`forward`, by named output; ``rows`` as in :meth:`encode_outputs`."""
        x, frames = self._whole_frames(x)
        return {name: part[:, :frames] for name, part in self.encode_outputs(x, rows).items()}

    def _whole_frames(self, x: Tensor) -> Tuple[Tensor, int]:
        """The input padded to whole output frames, and the number of output frames to keep."""
        if x.dim() != 3 or x.shape[1] < 1:
            raise ValueError(f"expected features of shape (B, T, F) with T >= 1, got {tuple(x.shape)}")
        if self.bands is not None:
            x = x[..., : self.bands]
        frames = (x.shape[1] + self.stride - 1) // self.stride  # -(-a // b) would round down in an exported graph
        wanted = torch.sym_max(frames * self.stride, -(-self.min_frames // self.stride) * self.stride)
        if exporting() or wanted > x.shape[1]:
            x = pad_time(x, wanted - x.shape[1], self.pad_value)
        return x, frames

    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


class ScenePooling:
    """Pool frames to scenes: the whole embedding, or each of the encoder's outputs with its own pooling.

    Args:
        encoder: the encoder that makes the frames.
        scene: ``embedding.scene`` of a configuration.

    Attributes:
        dim: size of a scene embedding.

    Raises:
        ConfigError: ``scene`` names an output that the encoder lacks and has no ``others``, or the name is nearly that
            of an existing output.
    """

    def __init__(self, encoder: Encoder, scene: Union[str, Mapping[str, str]]) -> None:
        outputs = encoder.named_outputs()
        if isinstance(scene, str):
            outputs, scene = {"all": encoder.embed_dim}, {"all": scene}
        for name in [name for name in scene if name not in outputs and name != OTHERS]:
            meant = nearest(name, outputs)
            if meant or OTHERS not in scene:
                has = f"it has: {', '.join(outputs)}; with a pooling for {OTHERS}, a configuration serves any encoder"
                raise ConfigError(f"embedding.scene.{name}: the encoder has no output of this name{meant} ({has})")
        poolings = {name: scene.get(name, scene.get(OTHERS)) for name in outputs}
        places = {place: poolings[name] for name, place in columns_of(outputs).items()}
        self.pools: Dict[Tuple[int, int], str] = {
            place: pooling for place, pooling in places.items() if pooling is not None
        }
        #: encoder output -> (first, last + 1) of each range of scene columns that is pooled from it
        self.places: Dict[str, List[Tuple[int, int]]] = {name: [] for name in encoder.named_outputs()}
        start = 0
        for (first, last), pooling in self.pools.items():
            for part in range(len(pooling.split("+"))):
                for name, (low, high) in columns_of(encoder.named_outputs()).items():
                    if first <= low and high <= last:
                        self.places[name].append(
                            (start + part * (last - first) + low - first, start + part * (last - first) + high - first)
                        )
            start += (last - first) * len(pooling.split("+"))
        self.dim = sum((last - first) * len(pooling.split("+")) for (first, last), pooling in self.pools.items())

    def __call__(self, h: Tensor) -> Tensor:
        """Pool frames (B, T', at least D) to scenes (B, dim); outputs keep the encoder's order."""
        return torch.cat(
            [pool_scene(h[..., first:last], pooling) for (first, last), pooling in self.pools.items()], dim=-1
        )
