"""nt_xent, triplet and info_nce on drawn candidates against slow loops in float64."""

import math

import numpy as np
import pytest
import torch

from ssltoolkit.errors import ConfigError, ParameterError
from ssltoolkit.losses.contrastive import InfoNCE, NTXent, Triplet
from ssltoolkit.losses.similarity import Bilinear, Cosine
from ssltoolkit.samplers.base import DensePairs, IndexPairs

DIM = 5


def similarity(kind):
    module = Cosine(0.2) if kind == "cosine" else Bilinear()
    module.bind(DIM)
    return module.double()


def score(module, a, b):
    if isinstance(module, Bilinear):
        return float(a @ module.weight.detach() @ b)
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) / module.temperature


def cosine(a, b):
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def outputs(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {role: torch.randn(*shape, DIM, generator=generator, dtype=torch.float64) for role in ("anchor", "positive")}


def slow_nt_xent(module, rows, columns, target, allowed):
    """Every embedding of both views is an anchor; all other embeddings of both views are its candidates."""
    losses, hits = [], []
    for g in range(len(rows)):
        split, both = len(rows[g]), torch.cat([rows[g], columns[g]])
        for i in range(len(both)):
            scores, positives = {}, []
            for j in range(len(both)):
                across = (i < split) != (j < split)
                r, c = (i, j - split) if i < split else (j, i - split)
                if i == j or (across and not allowed[g, r, c]):
                    continue
                scores[j] = score(module, both[i], both[j])
                if across and target[g, r, c] > 0:
                    positives.append(j)
            if positives:
                total = math.log(sum(math.exp(value) for value in scores.values()))
                losses.append(sum(total - scores[j] for j in positives) / len(positives))
                hits.append(max(scores, key=scores.get) in positives)
    return np.mean(losses), np.mean(hits)


def some_pairs(shape, within, seed=1):
    rng = np.random.default_rng(seed)
    target = torch.from_numpy(rng.random(shape) < 0.3).float()
    target[:, 2] = 0.0
    allowed = (target > 0) | torch.from_numpy(rng.random(shape) < 0.6)
    return DensePairs("anchor", "positive", target, within, allowed)


@pytest.mark.parametrize("kind", ["cosine", "bilinear"])
def test_nt_xent(kind):
    module, out = similarity(kind), outputs(6)
    pairs = DensePairs("anchor", "positive", torch.eye(6)[None])
    got, metrics = NTXent(module)(out, pairs)
    loss, hits = slow_nt_xent(module, out["anchor"][None], out["positive"][None], pairs.target, torch.ones(1, 6, 6))
    assert got.item() == pytest.approx(loss, abs=1e-9) and metrics["accuracy"].item() == pytest.approx(hits)


def test_nt_xent_within_clips_with_forbidden_columns():
    module, out, pairs = similarity("cosine"), outputs(2, 5), some_pairs((2, 5, 5), "clip")
    got, metrics = NTXent(module)(out, pairs)
    loss, hits = slow_nt_xent(module, out["anchor"], out["positive"], pairs.target, pairs.allowed)
    assert got.item() == pytest.approx(loss, abs=1e-9) and metrics["accuracy"].item() == pytest.approx(hits)


def test_collapsed_embeddings_score_as_chance():
    out = {role: torch.ones(6, DIM, dtype=torch.float64) for role in ("anchor", "positive")}
    pairs = DensePairs("anchor", "positive", torch.eye(6)[None])
    assert NTXent(similarity("cosine"))(out, pairs).loss.item() == pytest.approx(math.log(11))  # 11 candidates
    assert Triplet(0.2)(out, pairs).loss.item() == pytest.approx(0.2)


def slow_triplet(margin, rows, columns, target, allowed):
    losses, beaten = [], []
    for g in range(len(rows)):
        for i in range(len(rows[g])):
            scores = [cosine(rows[g][i], column) for column in columns[g]]
            positives = [s for j, s in enumerate(scores) if target[g, i, j] > 0]
            negatives = [s for j, s in enumerate(scores) if target[g, i, j] == 0 and allowed[g, i, j]]
            if positives:
                hardest = max(negatives, default=-math.inf)
                losses.append(np.mean([max(0.0, margin + hardest - s) for s in positives]))
                beaten.append(np.mean([s > hardest for s in positives]))
    return np.mean(losses), np.mean(beaten)


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_triplet(margin):
    out, pairs = outputs(3, 6), some_pairs((3, 6, 6), "clip")
    pairs.allowed[0, 1] = pairs.target[0, 1] > 0  # positives but no negative: no loss at any margin
    pairs.target[0, 1, 0] = 1.0
    got, metrics = Triplet(margin)(out, pairs)
    loss, beaten = slow_triplet(margin, out["anchor"], out["positive"], pairs.target, pairs.allowed)
    assert got.item() == pytest.approx(loss, abs=1e-9) and metrics["accuracy"].item() == pytest.approx(beaten)


def drawn_pairs():
    """Anchors as flat frame indices of 3 clips of 4 frames; -1 for a missing negative, one anchor has none."""
    anchor, positive = torch.tensor([0, 3, 5, 11]), torch.tensor([1, 3, 4, 10])
    negatives = torch.tensor([[2, 3, 9], [0, -1, 4], [-1, -1, -1], [0, 0, 8]])
    return IndexPairs("anchor", "positive", anchor, positive, negatives)


@pytest.mark.parametrize("kind", ["cosine", "bilinear"])
def test_info_nce_on_drawn_candidates(kind):
    module, out, pairs = similarity(kind), outputs(3, 4), drawn_pairs()
    rows, columns = (out[role].flatten(0, 1) for role in ("anchor", "positive"))
    losses, hits = [], []
    for a, p, negatives in zip(pairs.anchor, pairs.positive, pairs.negatives):
        scores = [score(module, rows[a], columns[j]) for j in [p, *negatives] if j >= 0]
        losses.append(math.log(sum(map(math.exp, scores))) - scores[0])
        hits.append(scores[0] == max(scores))
    got, metrics = InfoNCE(module)(out, pairs)
    assert got.item() == pytest.approx(np.mean(losses), abs=1e-9) and metrics["accuracy"].item() == pytest.approx(
        np.mean(hits)
    )


def test_triplet_on_drawn_candidates():
    out, pairs = outputs(3, 4), drawn_pairs()
    rows, columns = (out[role].flatten(0, 1) for role in ("anchor", "positive"))
    losses = []
    for a, p, negatives in zip(pairs.anchor, pairs.positive, pairs.negatives):
        hardest = max((cosine(rows[a], columns[j]) for j in negatives if j >= 0), default=-math.inf)
        losses.append(max(0.0, 0.2 + hardest - cosine(rows[a], columns[p])))
    assert Triplet(0.2)(out, pairs).loss.item() == pytest.approx(np.mean(losses), abs=1e-9)


def test_no_pair_at_all_is_a_zero_that_can_be_differentiated():
    empty = torch.empty(0, dtype=torch.int64)
    for loss in (InfoNCE(similarity("cosine")), Triplet()):
        out = {role: value.requires_grad_() for role, value in outputs(2, 3).items()}
        got = loss(out, IndexPairs("anchor", "positive", empty, empty, empty.view(0, 4))).loss
        got.backward()
        assert got.item() == 0.0 and not out["anchor"].grad.any()


def test_drawn_candidates_have_no_second_direction():
    with pytest.raises(ConfigError, match="set symmetric: false"):
        InfoNCE(similarity("cosine"), symmetric=True)(outputs(3, 4), drawn_pairs())


@pytest.mark.parametrize(
    "make", [lambda: NTXent(similarity("cosine")), lambda: NTXent(similarity("bilinear")), lambda: Triplet(0.9)]
)
@pytest.mark.parametrize("drawn", [False, True])
def test_gradients(make, drawn):
    loss, out = make(), outputs(3, 4)
    if drawn and IndexPairs not in loss.accepts:
        loss = InfoNCE(loss.similarity)
    pairs = drawn_pairs() if drawn else some_pairs((3, 4, 4), "clip")
    inputs = [out["anchor"].requires_grad_(), out["positive"].requires_grad_(), *loss.parameters()]
    assert torch.autograd.gradcheck(lambda a, p, *w: loss({"anchor": a, "positive": p}, pairs).loss, inputs)


def test_margin_range():
    for margin in (-0.1, 2.1):
        with pytest.raises(ParameterError, match="margin"):
            Triplet(margin)
