"""model.py and strategy.py: one pass over the distinct views, the joint loss, and errors in strategies."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssltoolkit.config import load_config
from ssltoolkit.data.segments import Batch
from ssltoolkit.errors import ConfigError
from ssltoolkit.losses.similarity import Bilinear
from ssltoolkit.stages.pretrain import build_model

TEMPLATE = Path(__file__).resolve().parents[2] / "egs" / "TEMPLATE" / "ssl1" / "conf"


def batch_for(model, size=5, seed=(0, 2, 1)):
    rng = np.random.default_rng(0)
    waves = {cut: torch.from_numpy(0.1 * rng.standard_normal((size, 15360))).float() for cut in model.cuts}
    starts = {cut: np.zeros(size) if cut.near is None else np.full(size, 0.04) for cut in model.cuts}
    return Batch(waves, starts, list(seed), [f"u{k}" for k in range(size)])


def terms_of(config, **options):
    model = build_model(config).eval()
    return {key: value.item() for key, value in model(batch_for(model, **options)).terms.items()}


@pytest.mark.parametrize("joint", ["sum", "product"])
def test_joint_loss(tiny_config, joint):
    terms = terms_of(tiny_config(f"training.joint={joint}"))
    clip, frame, pitch = (terms[f"{name}/loss"] for name in ("clip", "frame", "pitch"))
    expected = clip + 0.5 * frame + 0.25 * pitch if joint == "sum" else clip * (1 + 0.5 * frame + 0.25 * pitch)
    assert terms["loss"] == pytest.approx(expected, rel=1e-6)
    assert set(terms) == {
        "loss",
        "clip/loss",
        "clip/accuracy",
        "frame/loss",
        "frame/accuracy",
        "pitch/loss",
        "pitch/absolute_error",
    }


def test_a_strategy_alone_is_its_own_loss(tiny_config):
    for joint in ("sum", "product"):
        terms = terms_of(
            tiny_config(
                "strategies.frame=null",
                "strategies.pitch=null",
                "strategies.clip.weight=0.5",
                f"training.joint={joint}",
            )
        )
        assert terms["loss"] == pytest.approx(0.5 * terms["clip/loss"], rel=1e-6)


def test_distinct_views_are_encoded_once_in_one_pass(tiny_config, monkeypatch):
    model = build_model(tiny_config("strategies.pitch.sampler.anchor=[mix, gain]")).eval()
    calls = []
    encode = model.encoder.encode_outputs
    monkeypatch.setattr(model.encoder, "encode_outputs", lambda x, rows: calls.append(x.shape) or encode(x, rows))
    model(batch_for(model))
    assert len(model.views) == 5  # of six; the pitch anchor equals the clip anchor
    assert calls == [(5 * 5, 96, 16)]


def test_gradients_reach_encoder_heads_and_similarities(tiny_config):
    model = build_model(tiny_config()).train()
    model(batch_for(model)).loss.backward()
    missing = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert missing == ["strategies.pitch.head.linear.bias"]  # the bias cancels in the difference of two values
    assert any(isinstance(module, Bilinear) for module in model.modules())
    assert "strategies.clip.loss.similarity.weight" in model.state_dict()  # else resuming would initialise it again


def test_only_seed_and_step_decide(tiny_config):
    first = terms_of(tiny_config())
    assert terms_of(tiny_config()) == first
    assert terms_of(tiny_config(), seed=(0, 2, 2)) != first
    assert terms_of(tiny_config("training.seed=1")) != first


def test_order_of_clips_does_not_matter_without_partners(tiny_config):
    config = tiny_config(
        "strategies.clip.sampler.anchor=[]",
        "strategies.clip.sampler.positive=[]",
        "strategies.frame.sampler={name: frame_band, neighbours: 1}",
        "strategies.pitch=null",
    )
    model = build_model(config).eval()
    batch = batch_for(model)
    plain = model(batch).loss
    order = torch.tensor([3, 0, 4, 1, 2])
    batch.waves = {cut: wave[order] for cut, wave in batch.waves.items()}
    torch.testing.assert_close(model(batch).loss, plain, rtol=1e-5, atol=1e-6)


def test_losses_are_float32_under_bf16(tiny_config):
    # oneDNN reads beyond its input in bf16 convolutions of 12 or 24 channels on 2 bands, not with practical sizes.
    model = build_model(tiny_config("frontend.n_mels=64", "encoder.width=16")).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch_for(model))
    assert output.loss.dtype == torch.float32 and torch.isfinite(output.loss)
    full = model.eval()(batch_for(model)).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(batch_for(model)).loss.item() == pytest.approx(full.item(), rel=0.05)


def test_strategies_refuse_what_does_not_fit(tiny_config):
    with pytest.raises(
        ConfigError,
        match=r"strategies.clip.loss.name: 'difference_regression' cannot use .*'clip'.*use one of: .*info_nce",
    ):
        build_model(tiny_config("strategies.clip.loss=difference_regression"))
    with pytest.raises(ConfigError, match="strategies.pitch.head.out_dim: .*got 8"):
        build_model(tiny_config("strategies.pitch.head.out_dim=8"))


def test_hop(tiny_config):
    assert build_model(tiny_config()).hop_ms == 40.0
    assert build_model(tiny_config("encoder.time_stride=8")).hop_ms == 80.0


@pytest.mark.parametrize(
    "name, trained_by",
    [
        ("default", {"pitch"}),
        ("ablation/clip", {"clip"}),
        ("ablation/clip_frame", {"clip"}),
        ("ablation/clip_pitch", {"pitch"}),
    ],
)
def test_one_strategy_trains_the_pitch_axis(name, trained_by):
    """Contrastive losses train invariance to transposition, which the pitch axis encodes: one strategy trains it."""
    model = build_model(load_config(TEMPLATE / f"{name}.yaml", ["training.batch_size=4"])).train()
    found = set()
    for strategy in model.strategies:
        for other in model.strategies:
            model.strategies[other].weight = float(other == strategy)
        model.zero_grad()
        model(batch_for(model, 4)).loss.backward()
        if any(parameter.grad is not None and parameter.grad.any() for parameter in model.encoder.pitch.parameters()):
            found.add(strategy)
    assert found == trained_by
