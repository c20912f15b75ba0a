"""byol: the loss against slow loops, and the target network in model, strategy and checkpoints."""

import math

import numpy as np
import pytest
import torch

from ssltoolkit.data.segments import Batch
from ssltoolkit.embedding import load_frozen
from ssltoolkit.errors import ConfigError, ParameterError
from ssltoolkit.losses.byol import BYOL
from ssltoolkit.samplers.base import DensePairs
from ssltoolkit.stages.pretrain import build_model, pretrain
from ssltoolkit.strategy import ema_copy, ema_update

DIM = 5
BYOL_CLIP = "strategies.clip.loss={name: byol, hidden_dim: 16, momentum: 0.9}"


@pytest.fixture
def loss():
    module = BYOL(hidden_dim=6)
    module.bind(DIM)
    return module.double().eval()


def outputs(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {role: torch.randn(*shape, DIM, generator=generator, dtype=torch.float64) for role in ("anchor", "positive")}


def slow(loss, rows, slow_columns, target):
    """Mean over rows with a positive of the weighted mean cosine of q(row) and the target network's positives."""
    found = []
    for g in range(len(rows)):
        for i in range(len(rows[g])):
            weights = target[g, i]
            if weights.sum() == 0:
                continue
            q = loss.predictor(rows[g][i][None])[0].detach()
            cosines = [float(q @ z) / math.sqrt(float(q @ q) * float(z @ z)) for z in slow_columns[g]]
            found.append(sum(float(w) * c for w, c in zip(weights, cosines)) / float(weights.sum()))
    return np.mean(found)


@pytest.mark.parametrize("within", ["batch", "clip"])
def test_value(loss, within):
    shape = (6,) if within == "batch" else (2, 4)
    out, targets = outputs(*shape), outputs(*shape, seed=1)
    target = (
        torch.eye(6)[None]
        if within == "batch"
        else torch.from_numpy(np.random.default_rng(0).random((2, 4, 4)) < 0.4).double()
    )
    pairs = DensePairs("anchor", "positive", target, within)
    a, p, slow_a, slow_p = (
        x[role] if within == "clip" else x[role][None] for x in (out, targets) for role in ("anchor", "positive")
    )
    expected = 0.5 * (slow(loss, a, slow_p, target) + slow(loss, p, slow_a, target.transpose(1, 2)))
    got, metrics = loss(out, pairs, targets)
    assert got.item() == pytest.approx(2 - 2 * expected, abs=1e-9) and metrics["cosine"].item() == pytest.approx(
        expected, abs=1e-9
    )


def test_gradients_go_to_the_trained_network_only(loss):
    out, targets, pairs = outputs(5), outputs(5, seed=1), DensePairs("anchor", "positive", torch.eye(5)[None])
    inputs = [out["anchor"].requires_grad_(), out["positive"].requires_grad_(), *loss.parameters()]
    assert torch.autograd.gradcheck(lambda a, p, *w: loss({"anchor": a, "positive": p}, pairs, targets).loss, inputs)


def test_a_target_network_is_needed(loss):
    with pytest.raises(ValueError, match="target network"):
        loss(outputs(3), DensePairs("anchor", "positive", torch.eye(3)[None]))
    for make in (lambda: BYOL(hidden_dim=0), lambda: BYOL(momentum=1.1)):
        with pytest.raises(ParameterError):
            make()


def test_follow():
    fast = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    behind = ema_copy(fast)
    before = {key: value.clone() for key, value in behind.state_dict().items()}
    with torch.no_grad():
        for parameter in fast.parameters():
            parameter.add_(torch.randn_like(parameter))
    fast.train()(torch.randn(8, 3))
    ema_update(behind, fast, 0.9)
    for key, value in behind.state_dict().items():
        new = fast.state_dict()[key]
        expected = new if "running" in key or "num_batches" in key else 0.9 * before[key] + 0.1 * new
        torch.testing.assert_close(value, expected)
    assert not any(parameter.requires_grad for parameter in behind.parameters())


def batch_for(model, size=5):
    rng = np.random.default_rng(0)
    waves = {cut: torch.from_numpy(0.1 * rng.standard_normal((size, 15360))).float() for cut in model.cuts}
    starts = {cut: np.zeros(size) if cut.near is None else np.full(size, 0.04) for cut in model.cuts}
    return Batch(waves, starts, [0, 2, 1], [f"u{k}" for k in range(size)])


def test_the_target_network_starts_equal_and_follows_after_each_step(tiny_config):
    model = build_model(tiny_config(BYOL_CLIP)).train()
    clip = model.strategies["clip"]
    slow_parts = [(model.target_encoder, model.encoder), (clip.target_head, clip.head)]
    assert all(torch.equal(a, b) for s, f in slow_parts for a, b in zip(s.parameters(), f.parameters()))
    assert model.strategies["frame"].target_head is None
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        before = [[p.clone() for p in s.parameters()] for s, _ in slow_parts]
        optimizer.zero_grad()
        model(batch_for(model)).loss.backward()
        assert all(p.grad is None for s, _ in slow_parts for p in s.parameters())
        optimizer.step()
        assert all(torch.equal(a, b) for old, (s, _) in zip(before, slow_parts) for a, b in zip(old, s.parameters()))
        model.after_step()
        for old, (behind, fast) in zip(before, slow_parts):
            for was, now, ahead in zip(old, behind.parameters(), fast.parameters()):
                torch.testing.assert_close(now, 0.9 * was + 0.1 * ahead)


def test_target_network_only_where_it_is_used(tiny_config):
    model = build_model(tiny_config())
    assert model.target_encoder is None and not any("target_" in key for key in model.state_dict())
    model.after_step()
    with pytest.raises(ConfigError, match="different momenta"):
        build_model(tiny_config(BYOL_CLIP, "strategies.frame.loss={name: byol, momentum: 0.5}"))


def test_checkpoint_holds_the_target_and_resuming_ends_at_the_same_weights(
    tiny_config, format_data, make_waves, tmp_path
):
    data = format_data("clips", make_waves(6))
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    overrides = [BYOL_CLIP, "strategies.frame=null", "strategies.pitch=null", "training.valid_interval=8"]
    pretrain(tiny_config(*overrides), tmp_path / "whole", data)
    whole = torch.load(tmp_path / "whole/last.pt", weights_only=True)["model"]
    assert any(key.startswith("target_encoder.") for key in whole) and any("target_head" in key for key in whole)
    # The same run, interrupted after its first checkpoint.
    pretrain(tiny_config(*overrides), tmp_path / "cut", data)
    for name in ("last.pt", "last.pt.sha256"):
        (tmp_path / "cut" / name).unlink()
    assert torch.load(tmp_path / "cut/previous.pt", weights_only=True)["step"] == 4
    pretrain(tiny_config(*overrides), tmp_path / "cut", data)
    resumed = torch.load(tmp_path / "cut/last.pt", weights_only=True)
    assert resumed["step"] == 8 and all(torch.equal(whole[key], value) for key, value in resumed["model"].items())
    # The frozen model is the trained encoder, not its target network.
    frozen = load_frozen(str(tmp_path / "whole/last.pt")).state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in frozen.items()) and not any(
        "target" in key for key in frozen
    )
