"""difference_sign against slow loops."""

import math

import pytest
import torch

from ssltoolkit.errors import ParameterError
from ssltoolkit.losses.regression import DifferenceSign
from ssltoolkit.samplers.base import DifferenceTargets


def outputs(*shape):
    generator = torch.Generator().manual_seed(0)
    return {role: torch.randn(*shape, 1, generator=generator, dtype=torch.float64) for role in ("first", "second")}


@pytest.mark.parametrize("shape, per_clip", [((6,), True), ((6, 3), True), ((6, 3), False)])
def test_value_and_gradient(shape, per_clip):
    out = outputs(*shape)
    value = torch.randn(
        shape[:1] if per_clip else shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    value[0] = 0.04
    loss, targets = DifferenceSign(0.05), DifferenceTargets("first", "second", value)
    wanted = (value.view(-1, 1).expand(shape) if per_clip and len(shape) == 2 else value).flatten().tolist()
    differences = (out["second"] - out["first"]).flatten().tolist()
    terms = [
        (math.log1p(math.exp(-d * math.copysign(1, v))), d * v > 0)
        for d, v in zip(differences, wanted)
        if abs(v) > 0.05
    ]
    got, metrics = loss(out, targets)
    assert got.item() == pytest.approx(sum(t for t, _ in terms) / len(terms), abs=1e-9)
    assert metrics["accuracy"].item() == pytest.approx(sum(right for _, right in terms) / len(terms))
    inputs = [x.requires_grad_() for x in out.values()]
    assert torch.autograd.gradcheck(lambda a, b: loss({"first": a, "second": b}, targets).loss, inputs)


def test_collapse_scores_as_chance():
    out = {role: torch.zeros(4, 1) for role in ("first", "second")}
    targets = DifferenceTargets("first", "second", torch.tensor([1.0, -1.0, 2.0, -3.0]))
    got, metrics = DifferenceSign()(out, targets)
    assert got.item() == pytest.approx(math.log(2)) and metrics["accuracy"].item() == 0.0


def test_nothing_to_compare_is_zero():
    out = {role: value.requires_grad_() for role, value in outputs(4).items()}
    got = DifferenceSign()(out, DifferenceTargets("first", "second", torch.zeros(4))).loss
    got.backward()
    assert got.item() == 0.0 and not out["first"].grad.any()


def test_errors():
    with pytest.raises(ValueError, match="out_dim 1, got 4"):
        DifferenceSign().bind(4)
    with pytest.raises(ParameterError, match="min_difference"):
        DifferenceSign(-1.0)
