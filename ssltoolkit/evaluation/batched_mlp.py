"""Many multi-layer perceptrons of one shape trained at once, as matrix products with a leading model dimension.

Each hidden layer is Linear, BatchNorm, Dropout, ReLU. The gradients are written out, which lets every step reuse the
same buffers: at this size fresh memory costs more than the arithmetic.

Symbols: M models, S seeds, B batch rows, D inputs, H hidden units, C outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from torch.nn import functional

BATCH_NORM_EPS, BATCH_NORM_MOMENTUM = 1e-5, 0.1
ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class ModelSpec:
    """One model of a batch.

    Attributes:
        lr: learning rate. init: ``uniform`` or ``normal`` (Xavier). seed: seed of its initial weights.
    """

    lr: float
    init: str
    seed: int


def _initial(spec: ModelSpec, sizes: Sequence[int]) -> Dict[str, torch.Tensor]:
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
            # A bias in front of batch normalisation has no effect, so there is none.
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
        specs: one :class:`ModelSpec` a model.
        groups: (M,) index into the leading dimension of the batches and dropout masks, ascending (its seed).
        loss: ``ce`` (targets (S, B) int64) or ``bce`` (targets (S, B, C) float).
        dropout: probability of a dropped hidden unit; models of one group share the mask.
        matmul_dtype: ``torch.bfloat16`` rounds the inputs of the matrix products; weights stay float32.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        specs: Sequence[ModelSpec],
        groups: Sequence[int],
        loss: str,
        dropout: float = 0.1,
        device: str = "cpu",
        matmul_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.sizes, self.loss, self.dropout = list(sizes), loss, dropout
        self.layers = len(sizes) - 2
        self.device, self.matmul_dtype = torch.device(device), matmul_dtype
        states = [_initial(spec, sizes) for spec in specs]
        self.state = {name: torch.stack([s[name] for s in states]).to(self.device) for name in states[0]}
        self.groups = torch.tensor(list(groups), dtype=torch.int64)
        self.lr = torch.tensor([spec.lr for spec in specs], device=self.device).view(-1, 1, 1)
        self.trained = [name for name in self.state if name.rstrip("0123456789") not in ("mean", "var")]
        self.first = {name: torch.zeros_like(self.state[name]) for name in self.trained}
        self.second = {name: torch.zeros_like(self.state[name]) for name in self.trained}
        self.steps = 0
        self._buffers: Dict[Tuple, torch.Tensor] = {}

    @property
    def num_models(self) -> int:
        return len(self.groups)

    def keep(self, models: Sequence[int]) -> None:
        """Go on with these models only (indices into the current batch)."""
        index = torch.tensor(list(models), dtype=torch.int64)
        place = index.to(self.device)
        for tensors in (self.state, self.first, self.second):
            for name in tensors:
                tensors[name] = tensors[name][place].contiguous()
        self.lr, self.groups = self.lr[place], self.groups[index]
        self._buffers.clear()

    def model_state(self, model: int) -> Dict[str, torch.Tensor]:
        """A copy of one model's weights and batch-norm statistics, each with a leading dimension of 1."""
        return {name: tensor[model : model + 1].clone() for name, tensor in self.state.items()}

    def _buffer(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        size = math.prod(shape)
        buffer = self._buffers.get((name, dtype))
        if buffer is None or len(buffer) < size:
            buffer = self._buffers[name, dtype] = torch.empty(size, dtype=dtype, device=self.device)
        return buffer[:size].view(shape)

    def _matmul(self, name: str, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Batched product into the buffer ``name``, through ``matmul_dtype``."""
        shape = (left.shape[0], left.shape[1], right.shape[2])
        out = self._buffer(name, *shape)
        if self.matmul_dtype is torch.float32:
            return torch.bmm(left, right, out=out)
        low = self._buffer("low", *shape, dtype=self.matmul_dtype)
        return out.copy_(torch.bmm(self._low("l", left), self._low("r", right), out=low))

    def _low(self, side: str, tensor: torch.Tensor) -> torch.Tensor:
        """``tensor`` in the product's dtype; a transposed view stays one."""
        if tensor.dtype is self.matmul_dtype:
            return tensor
        if tensor.is_contiguous():
            return self._buffer(side, *tensor.shape, dtype=self.matmul_dtype).copy_(tensor)
        turned = tensor.transpose(1, 2)
        return self._buffer(side, *turned.shape, dtype=self.matmul_dtype).copy_(turned).transpose(1, 2)

    def _spread(self, name: str, per_group: torch.Tensor) -> torch.Tensor:
        """(S, ...) repeated for the models of each group: (M, ...)."""
        per_group = per_group.to(self.device)
        out = self._buffer(name, self.num_models, *per_group.shape[1:], dtype=per_group.dtype)
        return torch.index_select(per_group, 0, self.groups.to(self.device), out=out)

    def _normalise(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """Batch-normalise ``x`` (M, B, H) in place; update the running statistics; return 1 / deviation (M, 1, H)."""
        rows = x.shape[1]
        mean = x.mean(dim=1, keepdim=True)
        x.sub_(mean)
        var = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_().div_(rows)
        inverse = (var + BATCH_NORM_EPS).rsqrt_()
        x.mul_(inverse)
        self.state[f"mean{layer}"].lerp_(mean, BATCH_NORM_MOMENTUM)
        self.state[f"var{layer}"].lerp_(var.mul_(rows / max(rows - 1, 1)), BATCH_NORM_MOMENTUM)
        return inverse

    def step(self, x: torch.Tensor, targets: torch.Tensor, masks: Sequence[torch.Tensor]) -> None:
        """One Adam step of every model.

        Args:
            x: (S, B, D) float32. targets: (S, B) int64 or (S, B, C) float32.
            masks: one (S, B, H) float32 a hidden layer, 0 where dropped, else 1 / (1 - dropout).
        """
        gradients = self.gradients(x, targets, masks)
        self.steps += 1
        bias1, bias2 = (1.0 - beta**self.steps for beta in ADAM_BETAS)
        for name, gradient in gradients.items():
            first, second = self.first[name], self.second[name]
            first.lerp_(gradient, 1.0 - ADAM_BETAS[0])
            second.mul_(ADAM_BETAS[1]).addcmul_(gradient, gradient, value=1.0 - ADAM_BETAS[1])
            update = self._buffer("update", *gradient.shape)
            torch.sqrt(second, out=update)
            update.div_(math.sqrt(bias2)).add_(ADAM_EPS)
            torch.div(first, update, out=update)
            self.state[name].sub_(update.mul_(self.lr / bias1))

    def gradients(
        self, x: torch.Tensor, targets: torch.Tensor, masks: Sequence[torch.Tensor]
    ) -> Dict[str, torch.Tensor]:
        """Gradient of the mean loss of every model; same arguments as :meth:`step`."""
        inputs = [self._spread("x", x.to(self.matmul_dtype))]
        normal: List[torch.Tensor] = []
        inverse: List[torch.Tensor] = []
        for layer in range(self.layers):
            hidden = self._matmul(f"normal{layer}", inputs[-1], self.state[f"weight{layer}"])
            inverse.append(self._normalise(layer, hidden))
            normal.append(hidden)
            out = self._buffer(f"out{layer}", *hidden.shape)
            torch.addcmul(self.state[f"beta{layer}"], hidden, self.state[f"gamma{layer}"], out=out)
            for group in self.groups.unique().tolist():
                out[self._members(group)].mul_(masks[layer][group].to(self.device))
            inputs.append(out.clamp_(min=0.0))
        logits = self._matmul("logits", inputs[-1], self.state[f"weight{self.layers}"]).add_(self.state["bias"])
        upstream = self._loss_gradient(logits, targets)
        gradients = {"bias": upstream.sum(dim=1, keepdim=True)}
        for layer in range(self.layers, -1, -1):
            name = f"weight{layer}"
            gradients[name] = self._matmul("d" + name, inputs[layer].transpose(1, 2), upstream)
            if layer:
                below = self._matmul(f"down{layer}", upstream, self.state[name].transpose(1, 2))
                self._through_hidden(layer - 1, below, inputs[layer], normal[layer - 1], inverse[layer - 1], gradients)
                upstream = below
        return gradients

    def _members(self, group: int) -> slice:
        first, last = torch.searchsorted(self.groups, torch.tensor([group, group + 1])).tolist()
        return slice(first, last)

    def _through_hidden(
        self,
        layer: int,
        upstream: torch.Tensor,
        out: torch.Tensor,
        normal: torch.Tensor,
        inverse: torch.Tensor,
        gradients: Dict[str, torch.Tensor],
    ) -> None:
        """Back through ReLU, dropout and batch normalisation, in place on ``upstream`` (M, B, H)."""
        # A unit passes a gradient where its output is positive: a dropped one is exactly 0, too.
        torch.ops.aten.threshold_backward.grad_input(upstream, out, 0.0, grad_input=upstream)
        scale, rows = 1.0 / (1.0 - self.dropout), upstream.shape[1]
        product = torch.mul(upstream, normal, out=self._buffer("product", *upstream.shape))
        d_gamma = product.sum(dim=1, keepdim=True).mul_(scale)
        d_beta = upstream.sum(dim=1, keepdim=True).mul_(scale)
        gradients[f"gamma{layer}"], gradients[f"beta{layer}"] = d_gamma, d_beta
        # dx = gamma / deviation * (scale * g - mean(scale * g) - normal * mean(scale * g * normal))
        upstream.mul_(scale).sub_(d_beta / rows)
        upstream.sub_(torch.mul(normal, d_gamma / rows, out=product))
        upstream.mul_(self.state[f"gamma{layer}"] * inverse)

    def _loss_gradient(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Gradient of the mean loss with respect to the logits (M, B, C), written over them."""
        rows, classes = logits.shape[1:]
        spread = self._spread("targets", targets)
        if self.loss == "ce":
            gradient = torch.softmax(logits, dim=2, out=self._buffer("softmax", *logits.shape))
            ones = torch.full((1, 1, 1), -1.0, device=self.device).expand(logits.shape[0], rows, 1)
            return gradient.scatter_add_(2, spread[:, :, None], ones).div_(rows)
        return logits.sigmoid_().sub_(spread).div_(rows * classes)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Class probabilities of every model in evaluation mode.

        Args:
            x: (n, D) float32, the same rows for all models.

        Returns:
            float32 (M, n, C).
        """
        return forward(self.state, x, self.layers, self.loss, self.matmul_dtype)


def forward(
    state: Dict[str, torch.Tensor],
    x: torch.Tensor,
    layers: int,
    loss: str,
    matmul_dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Probabilities (M, n, C) of models given by their stacked state, batch norm by its running statistics."""
    out: Optional[torch.Tensor] = None
    x = x.to(state["bias"].device).to(matmul_dtype)
    for layer in range(layers + 1):
        weight = state[f"weight{layer}"].to(matmul_dtype)
        out = torch.matmul(x, weight).float() if out is None else torch.bmm(out.to(matmul_dtype), weight).float()
        if layer < layers:
            scale = state[f"gamma{layer}"] * (state[f"var{layer}"] + BATCH_NORM_EPS).rsqrt()
            out.mul_(scale).add_(state[f"beta{layer}"] - state[f"mean{layer}"] * scale)
            functional.relu_(out)
    out += state["bias"]
    return torch.softmax(out, dim=2) if loss == "ce" else torch.sigmoid_(out)
