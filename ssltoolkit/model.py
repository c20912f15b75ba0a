"""The model of pre-training: frontend, one encoder, several strategies, one joint loss."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ssltoolkit.data.segments import Batch, Cut, drawing_order
from ssltoolkit.distributed.collectives import sharing
from ssltoolkit.distributed.layers import span_processes
from ssltoolkit.encoders.base import Encoder, ScenePooling
from ssltoolkit.encoders.outputs import ViewFrames, check_spelling
from ssltoolkit.errors import ConfigError
from ssltoolkit.frontends.logmel import Frontend
from ssltoolkit.losses.base import LossOutput
from ssltoolkit.registry import REGISTRY
from ssltoolkit.strategy import Strategy, ema_copy, ema_update
from ssltoolkit.transforms.render import Renderer, distinct
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View


@dataclass
class StepOutput:
    """Joint loss (scalar, with gradient), every term for the log, and this process's frames of the first view.

    ``frames`` maps each encoder output to (B, T', columns) without gradient. Outputs that no strategy reads from the
    first view are missing.
    """

    loss: Tensor
    terms: Dict[str, Tensor]
    frames: ViewFrames


@dataclass
class HeadOutputs:
    """Head outputs of one batch, and the view parameters that the samplers' comparisons need.

    Attributes:
        outputs: strategy -> role -> (B, D) or (B, T', D) float32.
        rendered: view -> its drawn parameters.
        frame_count: T'.
        first: this process's frames of the first view, without gradient.
    """

    outputs: Dict[str, Dict[str, Tensor]]
    rendered: Dict[View, RenderedView]
    frame_count: int
    first: ViewFrames


def build_frontend(config: Mapping[str, Any]) -> Frontend:
    """Build the frontend of a resolved configuration."""
    return REGISTRY.build("frontend", config["frontend"], "frontend")


def build_encoder(config: Mapping[str, Any], frontend: Frontend) -> Encoder:
    """Build the encoder of a resolved configuration for this frontend's mel bands.

    An encoder that does not declare ``parts`` as provided reads only the first resolution of a multi-resolution
    frontend.
    """
    several = (
        len(frontend.parts) > 1 and "parts" not in REGISTRY.component("encoder", config["encoder"]["name"]).provided
    )
    bands = frontend.parts[0] if several else frontend.n_mels
    encoder = REGISTRY.build("encoder", config["encoder"], "encoder", n_mels=bands, parts=frontend.parts)
    encoder.bands = bands
    return encoder


class SSLModel(nn.Module):
    """Frontend, encoder, heads and losses of pre-training, built from a resolved configuration.

    Joint loss (equation 4 of the paper): ``sum`` L = sum_i w_i L_i; ``product`` L = L_first (1 + sum of the other
    weighted losses), an alternative that the authors give; L_first is the first strategy in the YAML. ``uncertainty``
    learns a log-variance s_i for each strategy: L = sum_i exp(-s_i) w_i L_i + s_i (Kendall et al. 2018).

    Args:
        config: from :func:`ssltoolkit.config.load_config`.

    Raises:
        ConfigError: components that cannot be built or are incompatible; names the key path.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.frontend = build_frontend(config)
        self.encoder = build_encoder(config, self.frontend)
        # Report outputs that the encoder lacks now, not after training.
        ScenePooling(self.encoder, config["embedding"]["scene"])
        check_spelling(
            self.encoder.named_outputs(), config["embedding"].get("whiten_apart", {}), "embedding.whiten_apart"
        )
        self.strategies = nn.ModuleDict(
            {
                name: Strategy(name, spec, self.encoder.named_outputs(), self.encoder.summed_parts)
                for name, spec in config["strategies"].items()
            }
        )
        self.joint = config["training"]["joint"]
        self.log_variance = nn.Parameter(torch.zeros(len(self.strategies))) if self.joint == "uncertainty" else None
        self.views: List[View] = distinct([v for s in self.strategies.values() for v in s.sampler.views.values()])
        self.cuts: List[Cut] = list(dict.fromkeys(view.cut for view in self.views))
        self._check_cuts()
        self.read_outputs = self._views_by_output()
        self.renderer = Renderer(self.frontend, self.views, self._view_names())
        self.momentum = self._target_momentum()
        self.target_encoder = ema_copy(self.encoder) if self.momentum is not None else None

    def _check_cuts(self) -> None:
        """Check that every cut placed near another one has that other cut to be drawn from."""
        drawn: Set[str] = set()
        for cut in drawing_order(self.cuts):
            if cut.near is not None and cut.near not in drawn:
                owner = next(
                    name
                    for name, s in self.strategies.items()
                    if cut in [view.cut for view in s.sampler.views.values()]
                )
                raise ConfigError(
                    f"strategies.{owner}.sampler: cut {cut.name!r} lies near {cut.near!r}, which has no view; "
                    f"name one of: {', '.join(sorted(drawn)) or 'a cut that lies anywhere'}"
                )
            drawn.add(cut.name)

    def _view_names(self) -> Dict[View, str]:
        """Name of each view in messages: strategy and role that use it first."""
        named = [
            (view, f"strategies.{name}.sampler, view {role!r}")
            for name, s in self.strategies.items()
            for role, view in s.sampler.views.items()
        ]
        return dict(reversed(named))

    def _views_by_output(self) -> Dict[str, List[int]]:
        """Encoder output -> indices of the views from which some strategy reads it; unread outputs are missing."""
        read: Dict[str, Set[int]] = {name: set() for name in self.encoder.named_outputs()}
        for strategy in self.strategies.values():
            for name in strategy.reads:
                read[name].update(self.views.index(view) for view in strategy.sampler.views.values())
        return {name: sorted(numbers) for name, numbers in read.items() if numbers}

    def _encoded(self, encoder: Encoder, features: Tensor) -> Dict[View, ViewFrames]:
        """Encode the views (V, B, T, F) in one pass. Outputs that no strategy reads are skipped if the encoder can."""
        count, size = features.shape[:2]
        rows = {name: self._rows_of(numbers, size, features.device) for name, numbers in self.read_outputs.items()}
        by_view: List[Dict[str, Tensor]] = [{} for _ in self.views]
        for name, part in encoder.by_output(features.flatten(0, 1), rows).items():
            for number, frames in zip(self.read_outputs[name], part.unflatten(0, (-1, size)).unbind(0)):
                by_view[number][name] = frames
        return {view: ViewFrames(parts) for view, parts in zip(self.views, by_view)}

    def _rows_of(self, numbers: Sequence[int], size: int, device: torch.device) -> Optional[Tensor]:
        """Rows of these views in a batch of ``size`` clips per view; None means all rows."""
        if len(numbers) == len(self.views):
            return None
        return torch.cat([torch.arange(number * size, (number + 1) * size, device=device) for number in numbers])

    def forward(self, batch: Batch) -> StepOutput:
        """Render the distinct views, encode them in one pass, and apply every strategy.

        In distributed training each process renders and encodes its own rows; losses are computed on the whole batch.
        """
        with sharing(batch.shard):
            return self._forward(batch)

    def head_outputs(self, batch: Batch) -> HeadOutputs:
        """Render and encode a batch and apply every head, without the losses.

        Raises:
            ConfigError: some loss needs a target network.
        """
        if self.target_encoder is not None:
            raise ConfigError(
                "training.cached_batch: a loss with a target network has no negatives that a larger batch would add; "
                "set cached_batch: false"
            )
        with sharing(batch.shard):
            features, rendered = self.renderer(batch.waves, batch.starts, batch.seed, batch.shard, batch.periods)
            frames = self._encoded(self.encoder, features)
            outputs = {name: strategy.outputs(frames) for name, strategy in self.strategies.items()}
        first = {name: part.detach() for name, part in frames[self.views[0]].outputs.items()}
        count = next(iter(first.values())).shape[1]
        return HeadOutputs(outputs, {view.view: view for view in rendered}, count, ViewFrames(first))

    def _forward(self, batch: Batch) -> StepOutput:
        features, rendered = self.renderer(batch.waves, batch.starts, batch.seed, batch.shard, batch.periods)
        frames = self._encoded(self.encoder, features)
        slow_frames = None
        if self.target_encoder is not None:
            with torch.no_grad():
                slow_frames = self._encoded(self.target_encoder, features)
        drawn = {view.view: view for view in rendered}
        first = {name: part.detach() for name, part in frames[self.views[0]].outputs.items()}
        grid = FrameGrid(len(batch.utt_ids), next(iter(first.values())).shape[1], self.hop_ms, batch.groups)
        outputs = {
            name: strategy(frames, drawn, grid, self.draws_of(name, batch.seed), slow_frames)
            for name, strategy in self.strategies.items()
        }
        return StepOutput(*self.joined(outputs), ViewFrames(first))

    @staticmethod
    def draws_of(strategy: str, seed: Sequence[int]) -> np.random.Generator:
        """Random generator for a strategy's comparisons in the batch with this seed."""
        return np.random.default_rng([*seed, zlib.crc32(strategy.encode())])

    def joined(self, outputs: Mapping[str, LossOutput]) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Joint loss of the strategies' outputs, and every term for the log."""
        terms: Dict[str, Tensor] = {}
        weighted: List[Tensor] = []
        for name, output in outputs.items():
            terms[f"{name}/loss"] = output.loss.detach()
            terms.update({f"{name}/{key}": value.detach() for key, value in output.metrics.items()})
            weighted.append(self.strategies[name].weight * output.loss)
        loss = self._joined(weighted)
        if self.log_variance is not None:
            learned = torch.exp(-self.log_variance.detach())
            terms.update({f"{name}/learned_weight": learned[i] for i, name in enumerate(self.strategies)})
        terms["loss"] = loss.detach()
        return loss, terms

    def _joined(self, weighted: List[Tensor]) -> Tensor:
        if self.joint == "sum":
            return torch.stack(weighted).sum()
        if self.log_variance is not None:
            return (torch.exp(-self.log_variance) * torch.stack(weighted) + self.log_variance).sum()
        return weighted[0] * (1.0 + sum(weighted[1:], torch.zeros_like(weighted[0])))

    def span_processes(self) -> None:
        """Make batch normalisation and dropout span the global batch; losses already receive all clips."""
        for part in (self.encoder, self.target_encoder):
            if part is not None:
                span_processes(part)
        for strategy in self.strategies.values():
            for part in (strategy.head, strategy.target_head):
                if part is not None:
                    span_processes(part)

    def after_step(self, applied: Optional[Tensor] = None) -> None:
        """Update the target network's moving average; call once per optimiser step.

        ``applied`` is a boolean scalar; where it is false the step was skipped, and the average stays.
        """
        if self.target_encoder is None:
            return
        ema_update(self.target_encoder, self.encoder, self.momentum, applied)
        for strategy in self.strategies.values():
            if strategy.target_head is not None:
                ema_update(strategy.target_head, strategy.head, self.momentum, applied)

    def _target_momentum(self) -> Optional[float]:
        """EMA momentum of the losses that use a target network; None if no loss does."""
        wanted = {name: s.loss.momentum for name, s in self.strategies.items() if s.loss.uses_target}
        if len(set(wanted.values())) > 1:
            raise ConfigError(
                f"strategies: one target network serves all, but the losses of {', '.join(wanted)} give it different "
                "momenta"
            )
        return next(iter(wanted.values()), None)

    @property
    def hop_ms(self) -> float:
        """Milliseconds between the encoder's output frames."""
        return self.encoder.stride * self.frontend.hop_ms
