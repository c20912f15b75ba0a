"""The batched MLPs against autograd and against training each one alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ssltoolkit.evaluation import batched_mlp
from ssltoolkit.evaluation.batched_mlp import BatchedMLP, ModelSpec, forward
from ssltoolkit.evaluation.probe import float32_products
from ssltoolkit.evaluation.probe_loss import BinaryCrossEntropy, CrossEntropy, SquaredError

SPECS = [ModelSpec(1e-3, "uniform", 0), ModelSpec(1e-3, "normal", 1), ModelSpec(1e-2, "uniform", 2)]
GROUPS = [0, 1, 1]
LOSSES = {"ce": CrossEntropy(), "bce": BinaryCrossEntropy(), "squared": SquaredError()}
FUNCTIONS = {
    "ce": functional.cross_entropy,
    "bce": functional.binary_cross_entropy_with_logits,
    "squared": functional.mse_loss,
}


def batch(loss, sizes, seed=0, rows=9):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, rows, sizes[0], generator=generator)
    targets = torch.randint(0, sizes[-1], (2, rows), generator=generator)
    if loss == "bce":
        targets = torch.rand(2, rows, sizes[-1], generator=generator).gt(0.5).float()
    elif loss == "squared":
        targets = torch.randn(2, rows, sizes[-1], generator=generator)
    masks = [torch.full((2, rows, h), 0.9).bernoulli(generator=generator) / 0.9 for h in sizes[1:-1]]
    return x, targets, masks


def autograd_loss(state, model, x, targets, masks, loss, layers):
    out = x[GROUPS[model]]
    for layer in range(layers):
        out = out @ state[f"weight{layer}"][model]
        gamma, beta = state[f"gamma{layer}"][model, 0], state[f"beta{layer}"][model, 0]
        out = functional.batch_norm(out, None, None, gamma, beta, training=True)
        out = functional.relu(out * masks[layer][GROUPS[model]])
    out = out @ state[f"weight{layers}"][model] + state["bias"][model]
    return FUNCTIONS[loss](out, targets[GROUPS[model]])


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_equal_autograd(loss, layers):
    sizes = [7, *[6] * layers, 4]
    models = BatchedMLP(sizes, SPECS, GROUPS, LOSSES[loss])
    x, targets, masks = batch(loss, sizes)
    state = {name: tensor.clone().requires_grad_() for name, tensor in models.state.items()}
    sum(autograd_loss(state, m, x, targets, masks, loss, layers) for m in range(3)).backward()
    gradients = models.gradients(x, targets, masks)
    assert set(gradients) == set(models.trained)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, state[name].grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_total_of_a_loss_is_the_sum_over_rows(loss):
    models, (x, targets, _) = BatchedMLP([7, 4], SPECS, GROUPS, LOSSES[loss]), batch(loss, [7, 4])
    found = models.total_loss(x[0], targets[0])
    expected = [
        FUNCTIONS[loss](x[0] @ models.state["weight0"][m] + models.state["bias"][m], targets[0], reduction="sum")
        for m in range(3)
    ]
    torch.testing.assert_close(found, torch.stack(expected).double(), atol=1e-4, rtol=1e-5)


def test_steps_equal_torch_adam():
    sizes = [5, 4]
    models = BatchedMLP(sizes, SPECS, GROUPS, CrossEntropy())
    weights = [models.state["weight0"][m].clone().requires_grad_() for m in range(3)]
    biases = [models.state["bias"][m].clone().requires_grad_() for m in range(3)]
    optimizers = [torch.optim.Adam([w, b], lr=spec.lr) for w, b, spec in zip(weights, biases, SPECS)]
    for step in range(5):
        x, targets, masks = batch("ce", sizes, seed=step)
        models.step(x, targets, masks)
        for m, optimizer in enumerate(optimizers):
            optimizer.zero_grad()
            functional.cross_entropy(x[GROUPS[m]] @ weights[m] + biases[m], targets[GROUPS[m]]).backward()
            optimizer.step()
    for m in range(3):
        torch.testing.assert_close(models.state["weight0"][m], weights[m].detach(), atol=1e-6, rtol=1e-5)


def train(specs, groups, steps=6, cut=None):
    sizes = [7, 6, 6, 4]
    models = BatchedMLP(sizes, specs, groups, CrossEntropy())
    for step in range(steps):
        x, targets, masks = batch("ce", sizes, seed=step)
        models.step(x, targets, masks)
        if cut is not None and step == steps // 2:
            models.keep(cut)
    return models


def test_a_model_trains_the_same_alone_and_in_company():
    together = train(SPECS, GROUPS)
    for m, (spec, group) in enumerate(zip(SPECS, GROUPS)):
        alone = train([spec], [group])
        for name, tensor in alone.state.items():
            torch.testing.assert_close(together.state[name][m : m + 1], tensor, atol=1e-5, rtol=1e-4)


def test_dropping_models_does_not_disturb_the_others():
    cut, together = train(SPECS, GROUPS, cut=[0, 2]), train(SPECS, GROUPS)
    assert cut.num_models == 2
    for name, tensor in cut.state.items():
        torch.testing.assert_close(tensor, together.state[name][[0, 2]], atol=1e-5, rtol=1e-4)


def test_slices_through_the_cache_change_nothing(monkeypatch):
    whole = train(SPECS, GROUPS)
    monkeypatch.setattr(batched_mlp, "CACHE_UNITS", 1)
    for name, tensor in train(SPECS, GROUPS).state.items():
        torch.testing.assert_close(tensor, whole.state[name], atol=1e-5, rtol=1e-4)


def test_evaluation_uses_running_statistics_and_a_batch_of_any_size():
    models = train(SPECS, GROUPS)
    x = torch.randn(11, 7, generator=torch.Generator().manual_seed(5))
    whole = models.predictions(x)
    assert whole.shape == (3, 11, 4)
    torch.testing.assert_close(whole.sum(2), torch.ones(3, 11))
    torch.testing.assert_close(torch.cat([models.predictions(x[:1]), models.predictions(x[1:])], dim=1), whole)
    torch.testing.assert_close(forward(models.model_state(1), x, 2, CrossEntropy())[0], whole[1])


def test_bfloat16_products_stay_near_float32():
    states = []
    for dtype in (torch.float32, torch.bfloat16):
        models = BatchedMLP([7, 6, 4], SPECS, GROUPS, CrossEntropy(), matmul_dtype=dtype)
        states.append(models.gradients(*batch("ce", [7, 6, 4], rows=64)))
    for name, gradient in states[0].items():
        assert np.abs((gradient - states[1][name]).numpy()).max() < 0.02


def test_products_rounded_by_the_library_stay_near_float32():
    states = []
    for precision in ("highest", "medium"):
        with float32_products(precision):
            models = BatchedMLP([64, 32, 4], SPECS, GROUPS, CrossEntropy())
            states.append(models.gradients(*batch("ce", [64, 32, 4], rows=64)))
    for name, gradient in states[0].items():
        assert np.abs((gradient - states[1][name]).numpy()).max() < 0.02


def test_batches_of_changing_size_count_every_step(monkeypatch):
    def train_on(rows):
        models = BatchedMLP([7, 6, 4], SPECS, GROUPS, CrossEntropy())
        for step, count in enumerate(rows):
            models.step(*batch("ce", [7, 6, 4], seed=step, rows=count))
        return models.state

    whole = train_on([20, 5, 20, 5])
    monkeypatch.setattr(batched_mlp, "CACHE_UNITS", 90)  # one model at a time, or all of them for a short batch
    for name, tensor in train_on([20, 5, 20, 5]).items():
        torch.testing.assert_close(tensor, whole[name], atol=1e-5, rtol=1e-4)


def test_a_bias_in_front_of_batch_normalisation_is_that_of_torch():
    """The bias affects training only by rounding, but evaluation through the running mean."""
    sizes = [6, 5, 3]
    models = BatchedMLP(sizes, SPECS, GROUPS, CrossEntropy(), dropout=0.0, hidden_bias=True)
    reference = torch.nn.Sequential(
        torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.ReLU(), torch.nn.Linear(5, 3)
    )
    state = {name: tensor[0] for name, tensor in models.state.items()}
    with torch.no_grad():
        for linear, weight, bias in ((reference[0], "weight0", "shift0"), (reference[3], "weight1", "bias")):
            linear.weight.copy_(state[weight].T)
            linear.bias.copy_(state[bias][0])
    assert state["shift0"].abs().max() > 0.1
    x, targets, _ = batch("ce", sizes)
    adam = torch.optim.Adam(reference.parameters(), 1e-3)
    for _ in range(3):
        adam.zero_grad()
        functional.cross_entropy(reference(x[0]), targets[0]).backward()
        adam.step()
        models.step(x, targets, [torch.ones(2, 9, 5)])
    reference.eval()
    torch.testing.assert_close(models.predictions(x[1])[0], reference(x[1]).softmax(1), atol=2e-3, rtol=0)
    torch.testing.assert_close(models.state["mean0"][0, 0], reference[1].running_mean, atol=2e-3, rtol=0)
    assert "shift0" not in BatchedMLP(sizes, SPECS, GROUPS, CrossEntropy()).state
