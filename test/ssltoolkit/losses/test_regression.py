"""losses/regression.py against slow loops."""

import pytest
import torch

from ssltoolkit.errors import ParameterError
from ssltoolkit.losses.regression import DifferenceRegression
from ssltoolkit.samplers.base import DifferenceTargets


def slow(form, delta, first, second, value):
    total, count = 0.0, 0
    for b in range(first.shape[0]):
        for t in range(first.shape[1]):
            wanted = value[b].item() if value.dim() == 1 else value[b, t].item()
            error = abs(second[b, t, 0].item() - first[b, t, 0].item() - wanted)
            if form == "mse":
                total += error**2
            else:
                total += 0.5 * error**2 if error <= delta else delta * (error - 0.5 * delta)
            count += 1
    return total / count


@pytest.fixture
def out():
    generator = torch.Generator().manual_seed(0)
    return {role: 2 * torch.randn(4, 6, 1, generator=generator, dtype=torch.float64) for role in ("anchor", "shifted")}


@pytest.mark.parametrize("form, delta", [("mse", 1.0), ("huber", 1.0), ("huber", 0.3)])
@pytest.mark.parametrize("shape", [(4,), (4, 6)])
def test_value_and_gradient(out, form, delta, shape):
    value = 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss, targets = DifferenceRegression(form, delta), DifferenceTargets("anchor", "shifted", value)
    got, metrics = loss(out, targets)
    assert got.item() == pytest.approx(slow(form, delta, out["anchor"], out["shifted"], value), abs=1e-6)
    difference = (out["shifted"] - out["anchor"])[..., 0] - (value if value.dim() == 2 else value[:, None])
    assert metrics["absolute_error"].item() == pytest.approx(difference.abs().mean().item())
    inputs = [x.requires_grad_() for x in out.values()]
    assert torch.autograd.gradcheck(lambda a, s: loss({"anchor": a, "shifted": s}, targets).loss, inputs)


def test_the_known_difference_costs_nothing(out):
    value = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
    out["shifted"] = out["anchor"] + value[:, None, None]
    assert DifferenceRegression("mse")(out, DifferenceTargets("anchor", "shifted", value)).loss.item() == pytest.approx(
        0.0, abs=1e-12
    )
    assert DifferenceRegression("mse")(
        out, DifferenceTargets("shifted", "anchor", -value)
    ).loss.item() == pytest.approx(0.0, abs=1e-12)


def test_errors():
    with pytest.raises(ValueError, match="needs a head with out_dim 1, got 4"):
        DifferenceRegression().bind(4)
    with pytest.raises(ParameterError, match="delta"):
        DifferenceRegression(delta=0.0)
