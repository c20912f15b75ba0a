"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

import math
from typing import Any, Callable, Mapping, Tuple

import torch
from torch import nn

from ssltoolkit.errors import check_range
from ssltoolkit.registry import REGISTRY, register


def build_optimizer(
    config: Mapping[str, Any], model: nn.Module
) -> Tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Build the optimiser and the schedule of a resolved configuration."""
    optimizer = REGISTRY.build("optimizer", config["optimizer"], "optimizer", model=model)
    steps = config["training"]["max_steps"]
    return optimizer, REGISTRY.build(
        "scheduler", config["scheduler"], "scheduler", optimizer=optimizer, max_steps=steps
    )


def _check(lr: float, betas: Tuple[float, float], weight_decay: float) -> None:
    check_range("lr", lr, 0.0, open_low=True)
    check_range("weight_decay", weight_decay, 0.0)
    for beta in betas:
        check_range("betas", beta, 0.0, 1.0 - 1e-9)


@register("optimizer", "adam", provided=("model",))
def adam(
    model: nn.Module, lr: float = 1e-4, betas: Tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """Adam (the paper: learning rate 1e-4, no decay).

    Example:
        ``optimizer: {name: adam, lr: 1e-4}``
    """
    _check(lr, betas, weight_decay)
    parameters = _trained(model)
    return torch.optim.Adam(
        parameters, lr=lr, betas=_floats(betas), weight_decay=weight_decay, fused=_can_fuse(parameters)
    )


@register("optimizer", "adamw", provided=("model",))
def adamw(
    model: nn.Module, lr: float = 1e-3, betas: Tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.01
) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, norms) are not decayed.

    Example:
        ``optimizer: {name: adamw, lr: 3e-3, weight_decay: 0.01}``
    """
    _check(lr, betas, weight_decay)
    parameters = _trained(model)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=_floats(betas), fused=_can_fuse(parameters))


def _floats(betas: Tuple[float, float]) -> Tuple[float, float]:
    """Betas as floats: torch rejects a mix of integers and floats, such as YAML's 0 and 0.9."""
    return float(betas[0]), float(betas[1])


def _trained(model: nn.Module) -> list:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _can_fuse(parameters: list) -> bool:
    """Whether torch's fused update applies; it takes a quarter of the time."""
    return bool(parameters) and all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


@register("scheduler", "constant", provided=("optimizer", "max_steps"))
def constant(optimizer: Any, max_steps: int, warmup_steps: int = 0) -> torch.optim.lr_scheduler.LambdaLR:
    """Constant learning rate after a linear warm-up of ``warmup_steps``.

    Example:
        ``scheduler: {name: constant, warmup_steps: 50}``
    """
    return _lambda(optimizer, warmup_steps, lambda step: 1.0)


@register("scheduler", "cosine", provided=("optimizer", "max_steps"))
def cosine(
    optimizer: Any, max_steps: int, warmup_steps: int = 0, final: float = 0.0
) -> torch.optim.lr_scheduler.LambdaLR:
    """Cosine decay from the full learning rate to ``final`` times it, after a linear warm-up of ``warmup_steps``.

    Example:
        ``scheduler: {name: cosine, warmup_steps: 50}``
    """
    check_range("final", final, 0.0, 1.0)

    def factor(step: int) -> float:
        done = (step - warmup_steps) / max(1, max_steps - warmup_steps)
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, done))))

    return _lambda(optimizer, warmup_steps, factor)


def _lambda(optimizer: Any, warmup_steps: int, after: Callable[[int], float]) -> torch.optim.lr_scheduler.LambdaLR:
    check_range("warmup_steps", warmup_steps, 0)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (step + 1) / warmup_steps if step < warmup_steps else after(step)
    )
