"""Batched training of many multi-layer perceptrons of the same shape, with a leading model dimension.

Each hidden layer is Linear, BatchNorm, Dropout, ReLU. Gradients are implemented by hand, so that every step reuses the
same buffers: at this size, allocating memory costs more than the arithmetic.

Symbols: M models, S seeds, B batch rows, D inputs, H hidden units, C outputs.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from torch.nn import functional
from torch.optim.adam import adam

from ssltoolkit.evaluation.probe_loss import ProbeLoss

BATCH_NORM_EPS, BATCH_NORM_MOMENTUM = 1e-5, 0.1
ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
#: hidden units (models x rows x units) processed at once: large batches of models are split to fit into the cache
CACHE_UNITS = 1 << 19


#: adjacent models with the same learning rate: the rate, their range within a slice of models, and their weights, first
#: and second moments and step counts, one entry per trained tensor
SameRate = Tuple[float, slice, List[torch.Tensor], List[torch.Tensor], List[torch.Tensor], List[torch.Tensor]]


@dataclass(frozen=True)
class ModelSpec:
    """One model of a batch.

    Attributes:
        lr: learning rate. init: ``uniform`` or ``normal`` (Xavier). seed: seed of its initial weights.
    """

    lr: float
    init: str
    seed: int


def _initial(spec: ModelSpec, sizes: Sequence[int], hidden_bias: bool) -> Dict[str, torch.Tensor]:
    """Weights of one model; gain 1 for the first matrix and sqrt(2) for those after a ReLU."""
    generator = torch.Generator().manual_seed(spec.seed)
    state: Dict[str, torch.Tensor] = {}
    for layer, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:])):
        gain = 1.0 if layer == 0 else math.sqrt(2.0)
        weight = torch.empty(fan_in, fan_out)
        if spec.init == "uniform":
            bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
            weight.uniform_(-bound, bound, generator=generator)
        else:
            weight.normal_(0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator=generator)
        state[f"weight{layer}"] = weight
        if layer < len(sizes) - 2:
            # A bias before batch normalisation has no effect in exact arithmetic. But its gradient is rounding noise,
            # which Adam scales to full steps, and the running mean lags behind it. hear-eval-kit's scores depend on it.
            if hidden_bias:
                bound = 1.0 / math.sqrt(fan_in)
                state[f"shift{layer}"] = torch.empty(1, fan_out).uniform_(-bound, bound, generator=generator)
            state[f"gamma{layer}"], state[f"beta{layer}"] = torch.ones(1, fan_out), torch.zeros(1, fan_out)
            state[f"mean{layer}"], state[f"var{layer}"] = torch.zeros(1, fan_out), torch.ones(1, fan_out)
        else:
            bound = 1.0 / math.sqrt(fan_in)
            state["bias"] = torch.empty(1, fan_out).uniform_(-bound, bound, generator=generator)
    return state


class BatchedMLP:
    """M independent perceptrons and their Adam optimiser.

    Args:
        sizes: ``[D, H, ..., C]``; two entries make a linear model.
        specs: one :class:`ModelSpec` per model; models with the same learning rate must be adjacent.
        groups: (M,) index of each model's seed in the leading dimension of batches and dropout masks.
        loss: loss of the outputs; its targets are (S, B) int64 or (S, B, C) float.
        dropout: probability of dropping a hidden unit; models of one group share the mask.
        hidden_bias: add a bias before each batch normalisation, as hear-eval-kit does.
        matmul_dtype: ``torch.bfloat16`` rounds inputs and results of the matrix products; weights stay float32.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        specs: Sequence[ModelSpec],
        groups: Sequence[int],
        loss: ProbeLoss,
        dropout: float = 0.1,
        device: str = "cpu",
        matmul_dtype: torch.dtype = torch.float32,
        hidden_bias: bool = False,
    ) -> None:
        self.hidden_bias = hidden_bias
        self.sizes, self.loss, self.dropout = list(sizes), loss, dropout
        self.layers = len(sizes) - 2
        self.device, self.matmul_dtype = torch.device(device), matmul_dtype
        states = [_initial(spec, sizes, hidden_bias) for spec in specs]
        self.state = {name: torch.stack([s[name] for s in states]).to(self.device) for name in states[0]}
        self.groups = torch.tensor(list(groups), dtype=torch.int64)
        self.rates = [spec.lr for spec in specs]
        self.trained = [name for name in self.state if name.rstrip("0123456789") not in ("mean", "var")]
        self.first = {name: torch.zeros_like(self.state[name]) for name in self.trained}
        self.second = {name: torch.zeros_like(self.state[name]) for name in self.trained}
        self.steps = 0
        self._buffers: Dict[Tuple, torch.Tensor] = {}
        self._shaped: Dict[Tuple, torch.Tensor] = {}
        self._at_once = 0
        self._views: Dict[Tuple, Tuple[Dict[str, torch.Tensor], List[SameRate]]] = {}

    @property
    def num_models(self) -> int:
        return len(self.groups)

    def keep(self, models: Sequence[int]) -> None:
        """Keep only these models (indices into the current batch)."""
        index = torch.tensor(list(models), dtype=torch.int64)
        place = index.to(self.device)
        for tensors in (self.state, self.first, self.second):
            for name in tensors:
                tensors[name] = tensors[name][place].contiguous()
        self.rates, self.groups = [self.rates[m] for m in models], self.groups[index]
        for held in (self._buffers, self._shaped, self._views):
            held.clear()

    def model_state(self, model: int) -> Dict[str, torch.Tensor]:
        """A copy of one model's weights and batch-norm statistics, each with a leading dimension of 1."""
        return {name: tensor[model : model + 1].clone() for name, tensor in self.state.items()}

    def _buffer(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        shaped = self._shaped.get((name, dtype, shape))
        if shaped is None:
            size = math.prod(shape)
            buffer = self._buffers.get((name, dtype))
            if buffer is None or len(buffer) < size:
                self._shaped.clear()
                buffer = self._buffers[name, dtype] = torch.empty(size, dtype=dtype, device=self.device)
            shaped = self._shaped[name, dtype, shape] = buffer[:size].view(shape)
        return shaped

    def _low(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Cast ``tensor`` to the dtype of the matrix products, in the buffer ``name``."""
        if tensor.dtype is self.matmul_dtype:
            return tensor
        return self._buffer(name, *tensor.shape, dtype=self.matmul_dtype).copy_(tensor)

    def _matmul(self, name: str, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Batched product of two tensors of the product dtype, as float32 in the buffer ``name``."""
        shape = (left.shape[0], left.shape[1], right.shape[2])
        out = self._buffer(name, *shape)
        if self.matmul_dtype is torch.float32:
            return torch.bmm(left, right, out=out)
        return out.copy_(torch.bmm(left, right, out=self._buffer("low", *shape, dtype=self.matmul_dtype)))

    def _spread(self, name: str, per_group: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """(S, ...) repeated for models of these groups: (M, ...)."""
        per_group = per_group.to(self.device)
        if len(groups) == 1:
            return per_group[groups]
        out = self._buffer(name, len(groups), *per_group.shape[1:], dtype=per_group.dtype)
        return torch.index_select(per_group, 0, groups.to(self.device), out=out)

    def _centre(self, x: torch.Tensor, running_mean: torch.Tensor, running_var: torch.Tensor) -> torch.Tensor:
        """Subtract the batch mean from ``x`` (M, B, H) in place and update the running statistics.

        Returns:
            1 / standard deviation, (M, 1, H).
        """
        rows = x.shape[1]
        mean = x.mean(dim=1, keepdim=True)
        x.sub_(mean)
        var = torch.mul(x, x, out=self._buffer("product", *x.shape)).mean(dim=1, keepdim=True)
        inverse = (var + BATCH_NORM_EPS).rsqrt_()
        running_mean.lerp_(mean, BATCH_NORM_MOMENTUM)
        running_var.lerp_(var.mul_(rows / max(rows - 1, 1)), BATCH_NORM_MOMENTUM)
        return inverse

    def step(self, x: torch.Tensor, targets: torch.Tensor, masks: Sequence[torch.Tensor]) -> None:
        """One Adam step of every model.

        Args:
            x: (S, B, D) float32. targets: (S, B) int64 or (S, B, C) float32.
            masks: one (S, B, H) float32 per hidden layer, 0 where dropped, else 1 / (1 - dropout).
        """
        x = x.to(self.device, self.matmul_dtype)
        at_once = max(1, CACHE_UNITS // (x.shape[1] * max(self.sizes[1:])))
        if at_once != self._at_once:
            # A short batch is sliced differently: reset the step counts of the views from ``steps``.
            self._at_once = at_once
            self._views.clear()
        for first in range(0, self.num_models, at_once):
            models = slice(first, min(first + at_once, self.num_models))
            self._update(models, self.gradients(x, targets, masks, models))
        self.steps += 1

    def _views_of(self, models: slice) -> Tuple[Dict[str, torch.Tensor], List[SameRate]]:
        """State and learning rates of a slice of models: for small models, taking views costs as much as the
        arithmetic.
        """
        held = self._views.get((models.start, models.stop))
        if held is None:
            state = {name: tensor[models] for name, tensor in self.state.items()}
            shares: List[SameRate] = []
            first = start = models.start or 0
            for rate, same in itertools.groupby(self.rates[models]):
                here = slice(first, first + len(list(same)))
                first = here.stop
                state_of, first_of, second_of = (
                    [h[n][here] for n in self.trained] for h in (self.state, self.first, self.second)
                )
                done = [torch.tensor(float(self.steps), device=self.device) for _ in self.trained]
                inner = slice(here.start - start, here.stop - start)
                shares.append((rate, inner, state_of, first_of, second_of, done))
            held = self._views[models.start, models.stop] = state, shares
        return held

    def _update(self, models: slice, gradients: Dict[str, torch.Tensor]) -> None:
        """Adam for some models, in one call for each learning rate."""
        for rate, inner, state, moment1, moment2, done in self._views_of(models)[1]:
            adam(
                state, [gradients[n][inner] for n in self.trained], moment1, moment2, [], done, fused=True,
                amsgrad=False, beta1=ADAM_BETAS[0], beta2=ADAM_BETAS[1], lr=rate, weight_decay=0.0, eps=ADAM_EPS,
                maximize=False,
            )  # fmt: skip

    def gradients(
        self, x: torch.Tensor, targets: torch.Tensor, masks: Sequence[torch.Tensor], models: slice = slice(None)
    ) -> Dict[str, torch.Tensor]:
        """Gradient of the mean loss of some models; the other arguments are those of :meth:`step`."""
        state, groups = self._views_of(models)[0], self.groups[models]
        weights = [self._low(f"w{n}", state[f"weight{n}"]) for n in range(self.layers + 1)]
        inputs = [self._spread("x", self._low("batch", x), groups)]
        outs: List[torch.Tensor] = []
        centred: List[torch.Tensor] = []
        inverse: List[torch.Tensor] = []
        for layer in range(self.layers):
            hidden = self._matmul(f"hidden{layer}", inputs[-1], weights[layer])
            if self.hidden_bias:
                hidden.add_(state[f"shift{layer}"])
            inverse.append(self._centre(hidden, state[f"mean{layer}"], state[f"var{layer}"]))
            out = self._buffer(f"out{layer}", *hidden.shape)
            torch.addcmul(state[f"beta{layer}"], hidden, state[f"gamma{layer}"] * inverse[-1], out=out)
            mask = masks[layer].to(self.device)
            for one, group in zip(out, groups.tolist()):
                one.mul_(mask[group])
            outs.append(out.clamp_(min=0.0))
            centred.append(hidden)
            inputs.append(self._low(f"in{layer}", out))
        outputs = self._matmul("outputs", inputs[-1], weights[-1]).add_(state["bias"])
        upstream = self.loss.gradient(
            outputs, self._spread("targets", targets, groups), self._buffer("scratch", *outputs.shape)
        )
        gradients = {"bias": upstream.sum(dim=1, keepdim=True)}
        for layer in range(self.layers, -1, -1):
            low = self._low("upstream", upstream)
            gradients[f"weight{layer}"] = self._matmul(f"d{layer}", inputs[layer].transpose(1, 2), low)
            if layer:
                below = layer - 1
                upstream = self._matmul(f"down{layer}", low, weights[layer].transpose(1, 2))
                gamma, beta = self._through_hidden(
                    upstream, outs[below], centred[below], state[f"gamma{below}"], inverse[below]
                )
                gradients[f"gamma{below}"], gradients[f"beta{below}"] = gamma, beta
                if self.hidden_bias:
                    gradients[f"shift{below}"] = upstream.sum(dim=1, keepdim=True)
        return gradients

    def _through_hidden(
        self,
        upstream: torch.Tensor,
        out: torch.Tensor,
        centred: torch.Tensor,
        gamma: torch.Tensor,
        inverse: torch.Tensor,
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Backward pass through ReLU, dropout and batch normalisation, in place on ``upstream`` (M, B, H).

        Returns:
            Gradients of the batch norm's scale and shift, (M, 1, H) each.
        """
        # A unit passes a gradient where its output is positive; the output of a dropped unit is exactly 0.
        torch.ops.aten.threshold_backward.grad_input(upstream, out, 0.0, grad_input=upstream)
        kept, rows = 1.0 / (1.0 - self.dropout), upstream.shape[1]
        product = torch.mul(upstream, centred, out=self._buffer("product", *upstream.shape))
        d_gamma = product.sum(dim=1, keepdim=True).mul_(kept * inverse)
        d_beta = upstream.sum(dim=1, keepdim=True).mul_(kept)
        # dx = gamma / deviation * (kept * g - mean(kept * g) - normal * mean(kept * g * normal))
        factor = gamma * inverse
        torch.addcmul(factor * d_beta / -rows, upstream, factor * kept, out=upstream)
        upstream.addcmul_(centred, factor * inverse * d_gamma / -rows)
        return d_gamma, d_beta

    def predictions(self, x: torch.Tensor) -> torch.Tensor:
        """Predictions of every model in evaluation mode: class probabilities, or numbers.

        Args:
            x: (n, D) float32, the same rows for all models.

        Returns:
            float32 (M, n, C).
        """
        return forward(self.state, x, self.layers, self.loss, self.matmul_dtype)

    def total_loss(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of every model in evaluation mode, summed over rows (and classes): float64 (M,).

        Args:
            x: (n, D) float32. targets: (n,) int64 or (n, C).
        """
        out = outputs_of(self.state, x, self.layers, self.matmul_dtype).double()
        return self.loss.total(out, targets.to(self.device))


def forward(
    state: Dict[str, torch.Tensor],
    x: torch.Tensor,
    layers: int,
    loss: ProbeLoss,
    matmul_dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Predictions (M, n, C) of models with this stacked state; batch norm uses its running statistics."""
    return loss.predictions(outputs_of(state, x, layers, matmul_dtype))


def outputs_of(
    state: Dict[str, torch.Tensor], x: torch.Tensor, layers: int, matmul_dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Outputs before :func:`forward` turns them into predictions."""
    out: Optional[torch.Tensor] = None
    x = x.to(state["bias"].device).to(matmul_dtype)
    for layer in range(layers + 1):
        weight = state[f"weight{layer}"].to(matmul_dtype)
        out = torch.matmul(x, weight).float() if out is None else torch.bmm(out.to(matmul_dtype), weight).float()
        if layer < layers:
            scale = state[f"gamma{layer}"] * (state[f"var{layer}"] + BATCH_NORM_EPS).rsqrt()
            mean = state[f"mean{layer}"]
            mean = mean - state[f"shift{layer}"] if f"shift{layer}" in state else mean
            out.mul_(scale).add_(state[f"beta{layer}"] - mean * scale)
            functional.relu_(out)
    out += state["bias"]
    return out
