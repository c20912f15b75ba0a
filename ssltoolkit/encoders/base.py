"""The interface of an encoder.

Shapes: B batch, T input frames, F mel bands, T' output frames, D embedding size.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from ssltoolkit.errors import ConfigError
from ssltoolkit.exporting import exporting, pad_time
from ssltoolkit.registry import REGISTRY, nearest

#: in ``embedding.scene``, all outputs that have no pooling of their own
OTHERS = "others"


@REGISTRY.base("encoder")
class Encoder(nn.Module):
    """One network f; h = f(x) has one embedding for each output frame.

    Attributes:
        embed_dim: D.
        outputs: what the embedding is made of, in the order of its columns: name and number of columns. Empty for one piece, ``output``.
        stride: input frames per output frame; output frame j covers input frames j * stride ... (j + 1) * stride - 1.
        min_frames: shortest input that gives an output; shorter ones are padded.
        context_frames: input frames on either side that an output frame depends on besides its own; None where it
            depends on the whole input, so that long audio must be embedded segment by segment.
        pitch_bins: last columns of the embedding that are logits over a learned axis of log frequency; 0 without such.
        pitch_axes: equal parts of these columns, whose sum is the logits.
        bands: leading bands of the input that are read; None for all of them.
        pad_value: what fills the end of an input up to a whole output frame; 0 is the mean of normalised features.
    """

    embed_dim: int
    outputs: Mapping[str, int] = {}
    stride: int
    min_frames: int = 1
    context_frames: Optional[int] = None
    pitch_bins: int = 0
    pitch_axes: int = 1
    bands: Optional[int] = None
    pad_value: float = 0.0

    def encode(self, x: Tensor) -> Tensor:
        """(B, T, F), T a multiple of ``stride``, to (B, T / stride, D)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalised log-mel (B, T, F) to (B, ceil(T / stride), D); the end is padded with ``pad_value``.

        Raises:
            ValueError: x is not of shape (B, T, F) with T at least 1.
        """
        if x.dim() != 3 or x.shape[1] < 1:
            raise ValueError(f"expected features of shape (B, T, F) with T >= 1, got {tuple(x.shape)}")
        if self.bands is not None:
            x = x[..., : self.bands]
        frames = (x.shape[1] + self.stride - 1) // self.stride  # in a graph -(-a // b) would round the other way
        wanted = torch.sym_max(frames * self.stride, -(-self.min_frames // self.stride) * self.stride)
        if exporting() or wanted > x.shape[1]:
            x = pad_time(x, wanted - x.shape[1], self.pad_value)
        return self.encode(x)[:, :frames]

    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def pool_scene(h: Tensor, pooling: str) -> Tensor:
    """Frames (B, T', D) to scenes: ``max``, ``mean`` or ``std`` over time (B, D), or several, such as ``max+mean``, concatenated (B, 2 D)."""
    pools = {"max": lambda: h.amax(dim=1), "mean": lambda: h.mean(dim=1), "std": lambda: h.std(dim=1, correction=0)}
    return torch.cat([pools[part]() for part in pooling.split("+")], dim=-1)


class ScenePooling:
    """Frames to scenes, of the whole embedding or of some of the encoder's outputs, each in its own way.

    Args:
        encoder: whose frames they are.
        scene: ``embedding.scene`` of a configuration.

    Attributes:
        dim: size of a scene.

    Raises:
        ConfigError: outputs that the encoder does not have, where ``others`` does not say what is to be done with those that it has, or
            where one that it has is spelt nearly so.
    """

    def __init__(self, encoder: Encoder, scene: Union[str, Mapping[str, str]]) -> None:
        outputs = dict(encoder.outputs) or {"output": encoder.embed_dim}
        if isinstance(scene, str):
            outputs, scene = {"all": encoder.embed_dim}, {"all": scene}
        for name in [name for name in scene if name not in outputs and name != OTHERS]:
            meant = nearest(name, outputs)
            if meant or OTHERS not in scene:
                has = f"it has: {', '.join(outputs)}; with a pooling for {OTHERS}, a configuration serves any encoder"
                raise ConfigError(f"embedding.scene.{name}: the encoder has no output of this name{meant} ({has})")
        self.pools: Dict[Tuple[int, int], str] = {}
        start = 0
        for name, columns in outputs.items():
            pooling = scene.get(name, scene.get(OTHERS))
            if pooling is not None:
                self.pools[start, start + columns] = pooling
            start += columns
        self.dim = sum((last - first) * len(pooling.split("+")) for (first, last), pooling in self.pools.items())

    def __call__(self, h: Tensor) -> Tensor:
        """Frames (B, T', at least D) to scenes (B, dim), the outputs in the encoder's order."""
        return torch.cat([pool_scene(h[..., first:last], pooling) for (first, last), pooling in self.pools.items()], dim=-1)
