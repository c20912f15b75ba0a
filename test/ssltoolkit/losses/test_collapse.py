"""Every loss of two views trains a small network without collapse: matching views stay close, clips stay apart."""

import numpy as np
import pytest
import torch
from torch import nn

from ssltoolkit.losses.redundancy import VICReg
from ssltoolkit.registry import REGISTRY
from ssltoolkit.samplers.base import DensePairs
from ssltoolkit.strategy import ema_copy, ema_update
from ssltoolkit.training.monitor import embedding_statistics

SIZE, INPUT, DIM = 32, 16, 8
COSINE = {"name": "cosine", "temperature": 0.2}
LOSSES = [
    {"name": "info_nce", "similarity": COSINE},
    {"name": "nt_xent", "similarity": COSINE},
    {"name": "triplet", "margin": 0.5},
    {"name": "barlow_twins"},
    {"name": "vicreg"},
    {"name": "byol", "hidden_dim": 32, "momentum": 0.9},
]


def train(loss, steps=120):
    """Train a network; return its outputs for the two views of unseen clips."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(INPUT, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, DIM))
    loss.bind(DIM)
    slow = ema_copy(network) if loss.uses_target else None
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], 3e-3)
    pairs = DensePairs("anchor", "positive", torch.eye(SIZE)[None])
    rng = np.random.default_rng(0)

    def views():
        clip = rng.standard_normal((SIZE, INPUT))
        return {
            role: torch.from_numpy(clip + 0.2 * rng.standard_normal(clip.shape)).float()
            for role in ("anchor", "positive")
        }

    for _ in range(steps):
        drawn = views()
        targets = {role: slow(x) for role, x in drawn.items()} if slow is not None else None
        optimizer.zero_grad()
        loss({role: network(x) for role, x in drawn.items()}, pairs, targets).loss.backward()
        optimizer.step()
        if slow is not None:
            ema_update(slow, network, loss.momentum)
    with torch.no_grad():
        return {role: network.eval()(x) for role, x in views().items()}


def matches(out):
    """Share of clips whose nearest positive by cosine is their own."""
    a, p = (nn.functional.normalize(x - x.mean(0), dim=1) for x in out.values())
    return ((a @ p.T).argmax(1) == torch.arange(SIZE)).float().mean().item()


@pytest.mark.parametrize("spec", LOSSES, ids=lambda spec: spec["name"])
def test_trains_without_collapse(spec):
    out = train(REGISTRY.build("loss", spec))
    statistics = embedding_statistics(out["anchor"][:, None])
    assert matches(out) > 0.8, statistics
    assert statistics["effective_rank"] > DIM / 2 and statistics["embedding_std"] > 1e-2, statistics


def test_attraction_alone_collapses():
    out = train(VICReg(25.0, 0.0, 0.0), 400)
    kept = embedding_statistics(train(VICReg())["anchor"][:, None])["embedding_std"]
    assert embedding_statistics(out["anchor"][:, None])["embedding_std"] < 0.2 * kept
