"""losses/displacement.py against slow loops."""

import math

import pytest
import torch

from ssltoolkit.errors import ParameterError
from ssltoolkit.losses.displacement import Displacement
from ssltoolkit.samplers.base import DifferenceTargets


def slow(bins, max_difference, first, second, value):
    """The equations, frame by frame."""
    reach, total, count, off = math.ceil(max_difference * bins), 0.0, 0, 0.0
    for b in range(first.shape[0]):
        for t in range(first.shape[1]):
            p, q = (x[b, t].softmax(0).tolist() for x in (first, second))
            correlation = [
                sum(p[i] * q[i + s] for i in range(len(p)) if 0 <= i + s < len(q)) + 1e-6
                for s in range(-reach, reach + 1)
            ]
            wanted = value[b].item() if value.dim() == 1 else value[b, t].item()
            place = min(max(wanted * bins, -reach), reach) + reach
            low = min(math.floor(place), 2 * reach - 1)
            log = [math.log(c / sum(correlation)) for c in correlation]
            total -= (1 - (place - low)) * log[low] + (place - low) * log[low + 1]
            off += abs((correlation.index(max(correlation)) - reach) / bins - wanted)
            count += 1
    return total / count, off / count


@pytest.fixture
def out():
    generator = torch.Generator().manual_seed(0)
    return {role: 2 * torch.randn(4, 5, 20, generator=generator, dtype=torch.float64) for role in ("anchor", "shifted")}


@pytest.mark.parametrize("bins, max_difference", [(2, 4.0), (3, 1.5), (1, 0.5)])
@pytest.mark.parametrize("shape", [(4,), (4, 5)])
def test_value_and_gradient(out, bins, max_difference, shape):
    # With a standard deviation of 3, some values exceed the largest difference.
    value = 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss, targets = Displacement(bins, max_difference), DifferenceTargets("anchor", "shifted", value)
    got, metrics = loss(out, targets)
    expected, off = slow(bins, max_difference, out["anchor"], out["shifted"], value)
    assert got.item() == pytest.approx(expected, abs=1e-9)
    assert metrics["absolute_error"].item() == pytest.approx(off, abs=1e-9)
    inputs = [x.requires_grad_() for x in out.values()]
    assert torch.autograd.gradcheck(lambda a, s: loss({"anchor": a, "shifted": s}, targets).loss, inputs)


def test_a_peak_that_moves_by_the_known_difference_costs_nothing():
    place, moved = torch.tensor([8, 9]), torch.tensor([3, -2])
    first = torch.nn.functional.one_hot(place, 20).double()[:, None] * 40
    second = torch.nn.functional.one_hot(place + moved, 20).double()[:, None] * 40
    loss = Displacement(bins=2, max_difference=2.0)
    right = loss({"a": first, "b": second}, DifferenceTargets("a", "b", moved / 2))
    wrong = loss({"a": first, "b": second}, DifferenceTargets("a", "b", -moved / 2))
    assert right.loss.item() < 1e-4 and right.metrics["absolute_error"].item() == 0.0
    assert wrong.loss.item() > 10.0
    assert loss({"a": second, "b": first}, DifferenceTargets("a", "b", -moved / 2)).loss.item() < 1e-4


def test_a_distribution_that_ignores_the_input_does_not_win():
    flat = torch.zeros(2, 3, 60)
    targets = DifferenceTargets("a", "b", torch.tensor([1.0, -0.5]))
    loss = Displacement(bins=2, max_difference=2.0)
    peak = torch.nn.functional.one_hot(torch.tensor(30), 60).float().expand(2, 3, -1) * 40
    chance = math.log(9)  # displacements of -4 ... 4 bins
    assert loss({"a": flat, "b": flat}, targets).loss.item() == pytest.approx(chance, abs=0.05)
    assert loss({"a": peak, "b": peak}, targets).loss.item() > chance


def test_errors():
    with pytest.raises(ValueError, match="up to 12 bins in either direction need more than 24 outputs, got 24"):
        Displacement(bins=3, max_difference=4.0).bind(24)
    Displacement(bins=3, max_difference=4.0).bind(25)
    for key, value in (("bins", 0), ("max_difference", 0.0)):
        with pytest.raises(ParameterError, match=key):
            Displacement(**{key: value})
