"""training/optim.py: optimisers and schedules."""

import math

import pytest
import torch
from torch import nn

from ssltoolkit.errors import ConfigError
from ssltoolkit.registry import REGISTRY


def rates(spec, steps=100, lr=2.0):
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=lr)
    scheduler = REGISTRY.build("scheduler", spec, "scheduler", optimizer=optimizer, max_steps=steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_after_warm_up():
    found = rates({"name": "cosine", "warmup_steps": 10, "final": 0.1})
    for step, rate in enumerate(found):
        if step < 10:
            assert rate == pytest.approx(2.0 * (step + 1) / 10)
        else:
            share = (step - 10) / 90
            assert rate == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))))
    assert max(found) == pytest.approx(2.0) and found[-1] < 0.21


def test_constant_after_warm_up():
    assert rates({"name": "constant", "warmup_steps": 4}, 6) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    assert rates("constant", 3) == [2.0] * 3


def test_adamw_does_not_decay_vectors():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimizer = REGISTRY.build("optimizer", {"name": "adamw", "lr": 0.5, "weight_decay": 0.1}, model=model)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }


def test_adam_and_frozen_parameters():
    model = nn.Linear(3, 4)
    model.bias.requires_grad_(False)
    optimizer = REGISTRY.build("optimizer", {"name": "adam", "lr": 1e-4, "betas": [0.8, 0.9]}, model=model)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    "kind, spec, part",
    [
        ("optimizer", {"name": "adamw", "lr": 0}, "optimizer.lr: must lie in (0, inf), got 0"),
        ("optimizer", {"name": "adam", "weight_decay": -1.0}, "optimizer.weight_decay: must lie in [0, inf)"),
        ("optimizer", {"name": "adam", "betas": [0.9, 1.0]}, "optimizer.betas: must lie in [0, 1]"),
        ("optimizer", {"name": "adam", "betas": [0.9]}, "optimizer.betas: expected Tuple[float, float]"),
        ("optimizer", {"name": "sgdd"}, "optimizer.name: no optimizer 'sgdd'"),
        ("scheduler", {"name": "cosine", "final": 2.0}, "scheduler.final: must lie in [0, 1]"),
        ("scheduler", {"name": "cosine", "warmup_steps": -1}, "scheduler.warmup_steps: must lie in [0, inf)"),
        ("scheduler", {"name": "cosin"}, "did you mean 'cosine'?"),
    ],
)
def test_errors(kind, spec, part):
    with pytest.raises(ConfigError) as caught:
        provided = {
            "model": nn.Linear(2, 2),
            "optimizer": torch.optim.SGD([nn.Parameter(torch.zeros(1))]),
            "max_steps": 5,
        }
        REGISTRY.build(kind, spec, kind, **provided)
    assert part in str(caught.value)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_whole_numbers_as_betas(name):
    optimizer = REGISTRY.build("optimizer", {"name": name, "betas": [0, 0.9]}, model=nn.Linear(2, 2))
    assert optimizer.param_groups[0]["betas"] == (0.0, 0.9)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_one_call_updates_as_several_do(name):
    torch.manual_seed(0)
    fused, several = (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)) for _ in range(2))
    several.load_state_dict(fused.state_dict())
    first = REGISTRY.build("optimizer", {"name": name, "lr": 0.01}, model=fused)
    second = REGISTRY.build("optimizer", {"name": name, "lr": 0.01}, model=several)
    assert all(group["fused"] for group in first.param_groups)
    for group in second.param_groups:
        group["fused"] = False
    for _ in range(5):
        x = torch.randn(8, 3)
        for model, optimizer in ((fused, first), (several, second)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    for one, other in zip(fused.parameters(), several.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
