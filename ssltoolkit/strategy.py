"""A strategy: sampler, head, loss and the loss's weight in the joint objective."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ssltoolkit.distributed.collectives import current_shard
from ssltoolkit.encoders.outputs import ALL, ViewFrames, chosen_outputs
from ssltoolkit.errors import ConfigError, kind_of, method_name, plugin_errors
from ssltoolkit.heads.projection import Head
from ssltoolkit.losses.base import Loss, LossOutput
from ssltoolkit.registry import REGISTRY
from ssltoolkit.samplers.base import Sampler
from ssltoolkit.samplers.checks import comparison_fault
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


class Strategy(nn.Module):
    """Sampler + head + loss + weight, built from ``strategies.<name>`` of a configuration.

    Args:
        name: strategy name, for logs and errors.
        spec: ``{weight, sampler, head, loss}``.
        outputs: encoder outputs, name -> number of columns.
        summed_parts: output name -> number of equal parts summed in it (see
            :class:`~ssltoolkit.encoders.base.Encoder`).

    Raises:
        ConfigError: a component that cannot be built, a sampler without level or views, or a loss that does not
            accept the sampler's comparison.
    """

    def __init__(
        self, name: str, spec: Mapping[str, Any], outputs: Mapping[str, int], summed_parts: Mapping[str, int]
    ) -> None:
        super().__init__()
        path = f"strategies.{name}"
        self.name, self.weight = name, float(spec["weight"])
        self.sampler: Sampler = REGISTRY.build("sampler", spec["sampler"], f"{path}.sampler")
        self._check_sampler(f"{path}.sampler.name: {spec['sampler']['name']!r}")
        self.reads = self._chosen(spec["head"], outputs, f"{path}.head")
        read = {output: outputs[output] for output in self.reads}
        provided = {
            "embed_dim": sum(read.values()),
            "level": self.sampler.level,
            "outputs": read,
            "summed_parts": summed_parts,
        }
        head = {key: value for key, value in spec["head"].items() if key != "outputs"}
        self.head: Head = REGISTRY.build("head", head, f"{path}.head", **provided)
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
        self._checked: Set[Tuple[torch.Size, ...]] = set()
        self.target_head = ema_copy(self.head) if self.loss.uses_target else None

    def forward(
        self,
        h: Mapping[View, ViewFrames],
        rendered: Mapping[View, RenderedView],
        grid: FrameGrid,
        rng: np.random.Generator,
        h_target: Optional[Mapping[View, ViewFrames]] = None,
    ) -> LossOutput:
        """The strategy's loss on encoder frames ``h``, and ``h_target`` of the target encoder, by view.

        In distributed training ``h`` holds this process's rows. Head outputs are gathered with gradients, so the loss
        is that of the whole batch.

        Raises:
            UserError: the sampler's comparison does not fit the outputs, or code of a plugin failed.
        """
        targets = None
        if self.target_head is not None and h_target is not None:
            with torch.no_grad():
                targets = self._outputs(self.target_head, h_target)
        return self.compared(self.outputs(h), rendered, grid, rng, targets)

    def outputs(self, h: Mapping[View, ViewFrames]) -> Dict[str, Tensor]:
        """Role -> head output of all clips in the batch, float32; gathered across processes in distributed training."""
        return self._outputs(self.head, h)

    def compared(
        self,
        outputs: Mapping[str, Tensor],
        rendered: Mapping[View, RenderedView],
        grid: FrameGrid,
        rng: np.random.Generator,
        targets: Optional[Mapping[str, Tensor]] = None,
    ) -> LossOutput:
        """Compute the loss from head outputs by role, and from those of the target network.

        Raises:
            UserError: the sampler's comparison does not fit the outputs, or code of a plugin failed.
        """
        where, views = f"strategies.{self.name}", self.sampler.views
        with plugin_errors(f"{where}.sampler"):
            comparison = self.sampler.compare({role: rendered[view] for role, view in views.items()}, grid, rng)
        self._check_comparison(comparison, outputs)
        device = next(iter(outputs.values())).device
        # Losses take exponentials and differences: compute them in float32 whatever the encoder's precision.
        with torch.autocast(device.type, enabled=False), plugin_errors(f"{where}.loss"):
            output = self.loss(outputs, comparison.to(device), targets)
        if not isinstance(output, LossOutput):
            raise ConfigError(
                f"{where}.loss: {method_name(self.loss, 'forward')} returned {kind_of(output)}; "
                "return LossOutput(loss, metrics)"
            )
        return output

    def _check_comparison(self, comparison: object, outputs: Mapping[str, Tensor]) -> None:
        """Check a comparison against the outputs; shapes only once for each size of a batch."""
        sizes = tuple(output.shape for output in outputs.values())
        if sizes in self._checked and isinstance(comparison, self.sampler.returns):
            return
        fault = comparison_fault(comparison, self.sampler.returns, outputs)
        if fault:
            raise ConfigError(f"strategies.{self.name}.sampler: {method_name(self.sampler, 'compare')} {fault}")
        self._checked.add(sizes)

    @staticmethod
    def _chosen(head: Mapping[str, Any], outputs: Mapping[str, int], path: str) -> List[str]:
        """Names of the encoder's outputs that the head reads."""
        made_for = getattr(REGISTRY.component("head", head["name"], path).factory, "reads", ())
        if head.get("outputs") is None and made_for and all(name in outputs for name in made_for):
            return list(made_for)
        return chosen_outputs(outputs, head.get("outputs") or ALL, f"{path}.outputs")

    def _check_sampler(self, where: str) -> None:
        level, kind = getattr(self.sampler, "level", None), type(self.sampler).__name__
        if level not in ("clip", "frame"):
            raise ConfigError(f'{where} has level {level!r}; write level = "clip" or level = "frame" into {kind}')
        if not getattr(self.sampler, "views", None):
            raise ConfigError(f"{where} has no views; pass them to super().__init__() in {kind}")
        if type(self.sampler).compare is Sampler.compare:
            raise ConfigError(f"{where} compares nothing; write the method compare(self, views, grid, rng) into {kind}")

    def _outputs(self, head: Head, h: Mapping[View, ViewFrames]) -> Dict[str, Tensor]:
        """Role -> head output of all clips, each distinct view once."""
        pooling = getattr(head, "pooling", None)
        by_view = {}
        for view in dict.fromkeys(self.sampler.views.values()):
            given = h[view].pooled(self.reads, pooling) if pooling else h[view].frames(self.reads)
            by_view[view] = head(given).float()
        shard = current_shard()
        if shard is not None:
            by_view = {view: shard.gather(output) for view, output in by_view.items()}
        return {role: by_view[view] for role, view in self.sampler.views.items()}


def ema_copy(module: nn.Module) -> nn.Module:
    """A copy without gradients, for :func:`ema_update` to keep as the exponential moving average of ``module``."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def ema_update(average: nn.Module, module: nn.Module, momentum: float, applied: Optional[Tensor] = None) -> None:
    """average = momentum * average + (1 - momentum) * module; buffers (running statistics) are copied.

    ``applied`` is a boolean scalar on the device. Where it is false the average stays; the buffers are equal already.
    """
    for target, source in zip(average.parameters(), module.parameters()):
        target.lerp_(source, 1.0 - momentum if applied is None else applied.to(target.dtype) * (1.0 - momentum))
    for target, source in zip(average.buffers(), module.buffers()):
        target.copy_(source)


def _accepts(loss_name: str) -> tuple:
    return REGISTRY.component("loss", loss_name).factory.accepts
