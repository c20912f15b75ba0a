"""losses/contrastive.py and similarity.py against slow loops in float64, written from the equations of the paper."""

import math

import numpy as np
import pytest
import torch

from ssltoolkit.errors import ParameterError
from ssltoolkit.losses.contrastive import InfoNCE
from ssltoolkit.losses.similarity import Bilinear, Cosine
from ssltoolkit.samplers.base import DensePairs

DIM = 5


def similarity(kind):
    module = Cosine(0.2) if kind == "cosine" else Bilinear()
    module.bind(DIM)
    return module.double()


def score(module, a, b):
    """s(a, b) of two vectors, by loops."""
    if isinstance(module, Bilinear):
        weight = module.weight.detach().numpy()
        return sum(a[i] * weight[i, j] * b[j] for i in range(DIM) for j in range(DIM))
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b)) / norms / module.temperature


def logsumexp(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def slow(module, rows, columns, target, allowed=None):
    """Mean over the rows with a positive of the mean over its positives of logsumexp(row) - s_ij; and the hit rate."""
    losses, hits = [], []
    for g in range(len(rows)):
        for i in range(len(rows[g])):
            positives = [j for j in range(len(columns[g])) if target[g, i, j] > 0]
            if not positives:
                continue
            scores = {
                j: score(module, rows[g][i], columns[g][j])
                for j in range(len(columns[g]))
                if allowed is None or allowed[g, i, j]
            }
            losses.append(sum(logsumexp(list(scores.values())) - scores[j] for j in positives) / len(positives))
            hits.append(max(scores, key=scores.get) in positives)
    return float(np.mean(losses)), float(np.mean(hits))


def outputs(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {role: torch.randn(*shape, DIM, generator=generator, dtype=torch.float64) for role in ("anchor", "positive")}


def check(module, out, pairs, rows, columns):
    loss, metrics = InfoNCE(module)(out, pairs)
    target = pairs.target.expand(len(rows), -1, -1)
    expected, accuracy = slow(module, rows.numpy(), columns.numpy(), target, pairs.allowed)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert metrics["accuracy"].item() == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize("kind", ["bilinear", "cosine"])
def test_similarities(kind):
    module, out = similarity(kind), outputs(2, 3)
    got = module(out["anchor"], out["positive"])
    for g in range(2):
        for i in range(3):
            for j in range(3):
                assert got[g, i, j].item() == pytest.approx(
                    score(module, out["anchor"][g, i].numpy(), out["positive"][g, j].numpy()), abs=1e-9
                )


@pytest.mark.parametrize("kind", ["bilinear", "cosine"])
def test_clip_loss_has_the_diagonal_as_target(kind):
    out = outputs(6)
    check(
        similarity(kind),
        out,
        DensePairs("anchor", "positive", torch.eye(6)[None]),
        out["anchor"][None],
        out["positive"][None],
    )


@pytest.mark.parametrize("kind", ["bilinear", "cosine"])
@pytest.mark.parametrize("t", [0, 1, 2])
def test_frame_band_loss(kind, t):
    out, frames = outputs(3, 7), np.arange(7)
    band = torch.from_numpy(np.abs(frames[:, None] - frames) <= t).float()[None]
    check(similarity(kind), out, DensePairs("anchor", "anchor", band, "clip"), out["anchor"], out["anchor"])


@pytest.mark.parametrize("kind", ["bilinear", "cosine"])
@pytest.mark.parametrize("within", ["clip", "batch"])
def test_aligned_loss_leaves_out_rows_without_a_positive_and_forbidden_columns(kind, within):
    out = outputs(3, 6)
    rng = np.random.default_rng(1)
    shape = (3, 6, 6) if within == "clip" else (1, 18, 18)
    target = torch.from_numpy(rng.random(shape) < 0.2).float()
    target[:, 2] = 0.0
    allowed = (target > 0) | torch.from_numpy(rng.random(shape) < 0.6)
    rows, columns = (
        (out[role] if within == "clip" else out[role].reshape(1, 18, DIM)) for role in ("anchor", "positive")
    )
    check(similarity(kind), out, DensePairs("anchor", "positive", target, within, allowed), rows, columns)


def test_symmetric_is_the_mean_of_both_directions():
    module, out = similarity("cosine"), outputs(2, 5)
    target = torch.from_numpy(np.random.default_rng(0).random((2, 5, 5)) < 0.3).float()
    allowed = torch.ones(2, 5, 5, dtype=torch.bool)
    allowed[:, 0, 3] = target[:, 0, 3] > 0
    loss, _ = InfoNCE(module, symmetric=True)(out, DensePairs("anchor", "positive", target, "clip", allowed))
    a, b = out["anchor"].numpy(), out["positive"].numpy()
    forward, _ = slow(module, a, b, target, allowed)
    backward, _ = slow(module, b, a, target.transpose(1, 2), allowed.transpose(1, 2))
    assert loss.item() == pytest.approx(0.5 * (forward + backward), abs=1e-6)


@pytest.mark.parametrize("kind", ["bilinear", "cosine"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_gradients(kind, symmetric):
    loss, out = InfoNCE(similarity(kind), symmetric), outputs(2, 4)
    target = torch.eye(4).repeat(2, 1, 1)
    target[:, 1] = 0.0  # no positive: the anchor is left out
    allowed = torch.ones(2, 4, 4, dtype=torch.bool)
    allowed[:, 1] = False  # and no candidate
    allowed[:, 0, 2] = False
    pairs = DensePairs("anchor", "positive", target, "clip", allowed)
    inputs = [out["anchor"].requires_grad_(), out["positive"].requires_grad_(), *loss.parameters()]
    assert torch.autograd.gradcheck(lambda a, b, *w: loss({"anchor": a, "positive": b}, pairs).loss, inputs)
    loss(out, pairs).loss.backward()
    assert all(torch.isfinite(x.grad).all() for x in inputs)
    assert not out["anchor"].grad[:, 1].any() or symmetric


def test_no_positive_at_all_is_a_zero_that_can_be_differentiated():
    out = outputs(2, 3)
    out["anchor"].requires_grad_()
    loss, metrics = InfoNCE(similarity("cosine"))(out, DensePairs("anchor", "positive", torch.zeros(1, 3, 3), "clip"))
    loss.backward()
    assert loss.item() == 0.0 and not out["anchor"].grad.any()


def test_extreme_scores_stay_finite():
    out = {role: 1e4 * value for role, value in outputs(4).items()}
    loss, _ = InfoNCE(similarity("bilinear"))(out, DensePairs("anchor", "positive", torch.eye(4)[None]))
    assert torch.isfinite(loss)
    zero = {role: torch.zeros(4, DIM, dtype=torch.float64, requires_grad=True) for role in ("anchor", "positive")}
    loss, _ = InfoNCE(similarity("cosine"))(zero, DensePairs("anchor", "positive", torch.eye(4)[None]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4)) and torch.isfinite(zero["anchor"].grad).all()


def test_errors():
    with pytest.raises(ValueError, match="within clips needs frame-level"):
        InfoNCE(similarity("cosine"))(outputs(4), DensePairs("anchor", "positive", torch.eye(4)[None], "clip"))
    with pytest.raises(ParameterError, match="temperature"):
        Cosine(0.0)
