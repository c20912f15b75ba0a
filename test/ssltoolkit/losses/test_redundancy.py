"""barlow_twins and vicreg against slow loops in float64, from the equations of their papers."""

import math

import numpy as np
import pytest
import torch

from ssltoolkit.errors import ParameterError
from ssltoolkit.losses.redundancy import BarlowTwins, VICReg
from ssltoolkit.samplers.base import DensePairs

N, DIM = 7, 4
PAIRS = DensePairs("anchor", "positive", torch.eye(N)[None])


def outputs(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        role: torch.randn(*(shape or (N,)), DIM, generator=generator, dtype=torch.float64)
        for role in ("anchor", "positive")
    }


def standardised(x):
    return np.stack([[(x[n, d] - x[:, d].mean()) / (x[:, d].std() + 1e-5) for d in range(DIM)] for n in range(len(x))])


def slow_barlow(a, b, redundancy):
    a, b = standardised(a), standardised(b)
    total = 0.0
    for i in range(DIM):
        for j in range(DIM):
            c = sum(a[n, i] * b[n, j] for n in range(len(a))) / len(a)
            total += (1 - c) ** 2 if i == j else redundancy * c**2
    return total / DIM


def slow_vicreg(a, b, weights):
    invariance = sum((a[n, d] - b[n, d]) ** 2 for n in range(len(a)) for d in range(DIM)) / (len(a) * DIM)
    variance = covariance = 0.0
    for x in (a, b):
        mean, count = x.mean(0), len(x) - 1
        for i in range(DIM):
            for j in range(DIM):
                c = sum((x[n, i] - mean[i]) * (x[n, j] - mean[j]) for n in range(len(x))) / count
                if i == j:
                    variance += max(0.0, 1.0 - math.sqrt(c + 1e-4)) / DIM
                else:
                    covariance += c**2 / DIM
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


@pytest.mark.parametrize("redundancy", [0.0, 5e-3, 0.5])
def test_barlow_twins(redundancy):
    out = outputs()
    expected = slow_barlow(out["anchor"].numpy(), out["positive"].numpy(), redundancy)
    assert BarlowTwins(redundancy)(out, PAIRS).loss.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 3.0)])
@pytest.mark.parametrize("scale", [0.2, 2.0])
def test_vicreg(weights, scale):
    out = {role: scale * value for role, value in outputs().items()}
    expected = slow_vicreg(out["anchor"].numpy(), out["positive"].numpy(), weights)
    assert VICReg(*weights)(out, PAIRS).loss.item() == pytest.approx(expected, abs=1e-9)


LOSSES = [
    (BarlowTwins(), lambda a, b: slow_barlow(a, b, 5e-3)),
    (VICReg(), lambda a, b: slow_vicreg(a, b, (25.0, 25.0, 1.0))),
]


@pytest.mark.parametrize("loss, slow", LOSSES, ids=["barlow_twins", "vicreg"])
def test_frames_are_matched_with_the_weighted_mean_of_their_positives(loss, slow):
    out = outputs(2, 5)
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.random((2, 5, 5)) * (rng.random((2, 5, 5)) < 0.4))
    target[:, 1] = 0.0
    first, second = [], []
    for g in range(2):
        for i in range(5):
            weights = target[g, i].numpy()
            if weights.sum() > 0:
                first.append(out["anchor"][g, i].numpy())
                second.append(sum(w * v for w, v in zip(weights, out["positive"][g].numpy())) / weights.sum())
    got = loss(out, DensePairs("anchor", "positive", target, "clip")).loss.item()
    assert got == pytest.approx(slow(np.stack(first), np.stack(second)), abs=1e-7)


@pytest.mark.parametrize("loss", [BarlowTwins(), VICReg(), VICReg(1.0, 1.0, 1.0)])
def test_gradients(loss):
    inputs = [value.requires_grad_() for value in outputs().values()]
    assert torch.autograd.gradcheck(lambda a, p: loss({"anchor": a, "positive": p}, PAIRS).loss, inputs)


@pytest.mark.parametrize("loss", [BarlowTwins(), VICReg()])
def test_collapse_costs_more_than_spread_and_has_a_finite_gradient(loss):
    spread = outputs()["anchor"]
    best = loss({"anchor": spread, "positive": spread}, PAIRS).loss.item()
    collapsed = torch.ones(N, DIM, dtype=torch.float64, requires_grad=True)
    worst = loss({"anchor": collapsed, "positive": collapsed}, PAIRS).loss
    worst.backward()
    assert worst.item() > best + 0.5 and torch.isfinite(collapsed.grad).all()
    # Identical dimensions: the same variance, but rank 1.
    copied = spread[:, :1].expand(-1, DIM)
    assert loss({"anchor": copied, "positive": copied}, PAIRS).loss.item() > best


@pytest.mark.parametrize("loss", [BarlowTwins(), VICReg()])
def test_fewer_than_two_pairs_are_a_zero_that_can_be_differentiated(loss):
    for kept in (0, 1):
        target = torch.zeros(1, N, N)
        target[0, :kept, 0] = 1.0
        out = {role: value.requires_grad_() for role, value in outputs().items()}
        got = loss(out, DensePairs("anchor", "positive", target)).loss
        got.backward()
        assert got.item() == 0.0 and not out["anchor"].grad.any()


def test_ranges():
    for make in (
        lambda: BarlowTwins(-1.0),
        lambda: VICReg(-1.0),
        lambda: VICReg(variance=-1.0),
        lambda: VICReg(covariance=-1.0),
    ):
        with pytest.raises(ParameterError):
            make()
