"""The joint loss with learned weights."""

import math

import pytest
import torch

from ssltoolkit.model import SSLModel


def joined(weights, losses, log_variance):
    """The joint loss of Kendall et al. 2018."""
    return sum(math.exp(-s) * w * loss + s for w, loss, s in zip(weights, losses, log_variance))


def test_equals_the_formula_and_learns_the_weights(tiny_config):
    config = tiny_config("training.joint=uncertainty")
    model = SSLModel(config)
    losses = [2.0 + index for index in range(len(model.strategies))]
    with torch.no_grad():
        model.log_variance.copy_(torch.linspace(-0.5, 0.5, len(losses)))
    weighted = [s.weight * torch.tensor(loss) for s, loss in zip(model.strategies.values(), losses)]
    total = model._joined(weighted)
    expected = joined([s.weight for s in model.strategies.values()], losses, model.log_variance.tolist())
    assert total.item() == pytest.approx(expected, rel=1e-6)
    total.backward()
    slopes = [1.0 - math.exp(-s) * w.item() for s, w in zip(model.log_variance.tolist(), weighted)]
    assert model.log_variance.grad.tolist() == pytest.approx(slopes, rel=1e-5)
