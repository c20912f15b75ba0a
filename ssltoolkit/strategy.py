"""A strategy: what is sampled, the head, the loss and its weight in the joint objective."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Mapping, Optional

import numpy as np
import torch
from torch import Tensor, nn

from ssltoolkit.distributed.collectives import current_shard
from ssltoolkit.errors import ConfigError
from ssltoolkit.losses.base import Loss, LossOutput
from ssltoolkit.registry import REGISTRY
from ssltoolkit.samplers.base import Comparison, Sampler
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


class Strategy(nn.Module):
    """Sampler + head + loss + weight, built from ``strategies.<name>`` of a configuration.

    Args:
        name: of the strategy, for logs and errors.
        spec: ``{weight, sampler, head, loss}``.
        embed_dim: D, of the encoder.
        pitch_bins: columns of it that are logits over a pitch axis.
        pitch_axes: equal parts of these columns, whose sum is the logits.

    Raises:
        ConfigError: a component that cannot be built, a sampler without level or views, or a loss that does not understand
            its comparison.
    """

    def __init__(self, name: str, spec: Mapping[str, Any], embed_dim: int, pitch_bins: int = 0, pitch_axes: int = 1) -> None:
        super().__init__()
        path = f"strategies.{name}"
        self.name, self.weight = name, float(spec["weight"])
        self.sampler: Sampler = REGISTRY.build("sampler", spec["sampler"], f"{path}.sampler")
        self._check_sampler(f"{path}.sampler.name: {spec['sampler']['name']!r}")
        provided = {"embed_dim": embed_dim, "level": self.sampler.level, "pitch_bins": pitch_bins, "pitch_axes": pitch_axes}
        self.head = REGISTRY.build("head", spec["head"], f"{path}.head", **provided)
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
            raise ConfigError(f"{path}.head.out_dim: {error}; it must go with {path}.loss") from None
        self.target_head = slow_copy(self.head) if self.loss.uses_target else None

    def forward(
        self,
        h: Mapping[View, Tensor],
        rendered: Mapping[View, RenderedView],
        grid: FrameGrid,
        rng: np.random.Generator,
        h_target: Optional[Mapping[View, Tensor]] = None,
    ) -> LossOutput:
        """The strategy's loss on encoder frames ``h``, and ``h_target`` of the target encoder: view -> (B, T', D).

        Among several processes ``h`` holds this one's rows; the heads' outputs are gathered, with gradients, and the loss
        is that of the whole batch.

        Raises:
            ConfigError: the sampler compares views that it does not ask for.
        """
        views = self.sampler.views
        outputs = self._outputs(self.head, h)
        targets = None
        if self.target_head is not None:
            with torch.no_grad():
                targets = self._outputs(self.target_head, h_target)
        comparison = self.sampler.compare({role: rendered[view] for role, view in views.items()}, grid, rng)
        unknown = [role for role in _roles(comparison) if role not in views]
        if unknown:
            raise ConfigError(
                f"strategies.{self.name}.sampler: compare() of {type(self.sampler).__name__} names the view {unknown[0]!r}, "
                f"it asks for: {', '.join(views)}; name one of these"
            )
        device = next(iter(outputs.values())).device
        # Losses are exponentials and differences: float32, whatever the encoder runs in.
        with torch.autocast(device.type, enabled=False):
            return self.loss(outputs, comparison.to(device), targets)

    def _check_sampler(self, where: str) -> None:
        level, kind = getattr(self.sampler, "level", None), type(self.sampler).__name__
        if level not in ("clip", "frame"):
            raise ConfigError(f"{where} has level {level!r}; write level = \"clip\" or level = \"frame\" into {kind}")
        if not getattr(self.sampler, "views", None):
            raise ConfigError(f"{where} has no views; pass them to super().__init__() in {kind}")

    def _outputs(self, head: nn.Module, h: Mapping[View, Tensor]) -> Dict[str, Tensor]:
        """Role -> head output of all clips, each distinct view once."""
        by_view = {view: head(h[view]).float() for view in dict.fromkeys(self.sampler.views.values())}
        shard = current_shard()
        if shard is not None:
            by_view = {view: shard.gather(output) for view, output in by_view.items()}
        return {role: by_view[view] for role, view in self.sampler.views.items()}


def slow_copy(module: nn.Module) -> nn.Module:
    """A copy without gradients, to follow ``module`` as a moving average."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """slow = momentum * slow + (1 - momentum) * fast; buffers (running statistics) are copied."""
    for target, source in zip(slow.parameters(), fast.parameters()):
        target.lerp_(source, 1.0 - momentum)
    for target, source in zip(slow.buffers(), fast.buffers()):
        target.copy_(source)


def _accepts(loss_name: str) -> tuple:
    return REGISTRY.component("loss", loss_name).factory.accepts


def _roles(comparison: Comparison) -> List[str]:
    """Every role that a comparison names."""
    named = [getattr(comparison, field, ()) for field in ("rows", "columns", "first", "second")]
    return [role for part in named for role in ([part] if isinstance(part, str) else part)]
