"""A strategy: what is sampled, the head, the loss and its weight in the joint objective."""

from __future__ import annotations

from typing import Any, Dict, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ssltoolkit.errors import ConfigError
from ssltoolkit.losses.base import Loss, LossOutput
from ssltoolkit.registry import REGISTRY
from ssltoolkit.samplers.base import Sampler
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


class Strategy(nn.Module):
    """Sampler + head + loss + weight, built from ``strategies.<name>`` of a configuration.

    Args:
        name: of the strategy, for logs and errors.
        spec: ``{weight, sampler, head, loss}``.
        embed_dim: D, of the encoder.

    Raises:
        ConfigError: a component that cannot be built, or a loss that does not understand the sampler's comparison.
    """

    def __init__(self, name: str, spec: Mapping[str, Any], embed_dim: int) -> None:
        super().__init__()
        path = f"strategies.{name}"
        self.name, self.weight = name, float(spec["weight"])
        self.sampler: Sampler = REGISTRY.build("sampler", spec["sampler"], f"{path}.sampler")
        self.head = REGISTRY.build("head", spec["head"], f"{path}.head", embed_dim=embed_dim, level=self.sampler.level)
        self.loss: Loss = REGISTRY.build("loss", spec["loss"], f"{path}.loss")
        if not issubclass(self.sampler.returns, self.loss.accepts):
            fitting = [n for n in REGISTRY.available("loss") if issubclass(self.sampler.returns, _accepts(n))]
            raise ConfigError(
                f"{path}.loss.name: {spec['loss']['name']!r} cannot use what sampler {spec['sampler']['name']!r} "
                f"returns ({self.sampler.returns.__name__}); use one of: {', '.join(fitting)}"
            )
        try:
            self.loss.bind(self.head.out_dim)
        except ValueError as error:
            raise ConfigError(f"{path}.head.out_dim: {error}") from None

    def forward(
        self,
        h: Mapping[View, Tensor],
        rendered: Mapping[View, RenderedView],
        grid: FrameGrid,
        rng: np.random.Generator,
    ) -> LossOutput:
        """The strategy's loss on encoder frames ``h``: view -> (B, T', D)."""
        views = self.sampler.views
        outputs: Dict[str, Tensor] = {}
        by_view: Dict[View, Tensor] = {}
        for role, view in views.items():
            if view not in by_view:
                by_view[view] = self.head(h[view]).float()
            outputs[role] = by_view[view]
        comparison = self.sampler.compare({role: rendered[view] for role, view in views.items()}, grid, rng)
        device = next(iter(outputs.values())).device
        # Losses are exponentials and differences: float32, whatever the encoder runs in.
        with torch.autocast(device.type, enabled=False):
            return self.loss(outputs, comparison.to(device))


def _accepts(loss_name: str) -> tuple:
    return REGISTRY.component("loss", loss_name).factory.accepts
