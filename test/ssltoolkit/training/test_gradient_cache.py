"""training/gradient_cache.py: the loss and gradients of one large batch, computed in parts."""

import copy

import numpy as np
import pytest
import torch

from ssltoolkit.config import resolve_config
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import SegmentDataset
from ssltoolkit.data.segments import Batch
from ssltoolkit.errors import ConfigError
from ssltoolkit.model import SSLModel
from ssltoolkit.stages.pretrain import pretrain
from ssltoolkit.training.gradient_cache import cached_backward, joined_views
from ssltoolkit.transforms.level import Mix
from ssltoolkit.transforms.views import RenderedView, View

COSINE = {"name": "info_nce", "similarity": {"name": "cosine"}, "symmetric": True}
CLIP = {"name": "clip", "positive": [{"name": "gain"}]}
FRAME = {"name": "frame_aligned", "negatives": "batch", "max_offset": 0.1, "positive": [{"name": "gain"}]}
PITCH = {"name": "pitch_shift", "max_shift": 4.0}
HEAD = {"name": "projection", "out_dim": 8}


def config(**training):
    return resolve_config({
        "frontend": {"name": "logmel", "n_mels": 64},
        # Layer normalisation, so no statistics of a batch.
        "encoder": {"name": "vit", "embed_dim": 16, "layers": 1, "heads": 2},
        "strategies": {
            "clip": {"sampler": CLIP, "head": HEAD, "loss": {**COSINE, "similarity": {"name": "bilinear"}}},
            "frame": {"sampler": FRAME, "head": HEAD, "loss": COSINE},
            "pitch": {"sampler": PITCH, "head": {**HEAD, "out_dim": 1}, "loss": "difference_regression"},
        },
        "optimizer": {"name": "adam"},
        "training": {"batch_size": 4, "device": "cpu", "precision": "fp32", **training},
    })  # fmt: skip


def one_batch(parts):
    """Join batches into one; the test gives it a renderer that repeats the draws of each."""
    first = parts[0]
    waves = {cut: torch.cat([part.waves[cut] for part in parts]) for cut in first.waves}
    starts = {cut: np.concatenate([part.starts[cut] for part in parts]) for cut in first.starts}
    return Batch(waves, starts, first.seed, [utt for part in parts for utt in part.utt_ids])


def test_as_one_large_batch(format_data, make_waves, monkeypatch):
    torch.manual_seed(0)
    model = SSLModel(config()).train()
    data = SegmentDataset(WaveArchive(format_data("train", make_waves(12))), model.cuts, 4, 15360, 16000, 0)
    parts = [data.batch(number) for number in range(3)]
    large = copy.deepcopy(model)
    drawn = [model.renderer(part.waves, part.starts, part.seed) for part in parts]
    views = joined_views([{view.view: view for view in rendered} for _, rendered in drawn])
    monkeypatch.setattr(
        large, "renderer", lambda *_: (torch.cat([features for features, _ in drawn], dim=1), list(views.values()))
    )
    found = cached_backward(model, parts, model.head_outputs, lambda: None)
    wanted = large(one_batch(parts))
    wanted.loss.backward()
    torch.testing.assert_close(found.loss, wanted.loss.detach(), rtol=1e-5, atol=1e-6)
    for key, value in wanted.terms.items():
        torch.testing.assert_close(found.terms[key], value, rtol=1e-5, atol=1e-6)
    largest = max(float(parameter.grad.abs().max()) for parameter in large.parameters() if parameter.grad is not None)
    for (name, one), (_, other) in zip(model.named_parameters(), large.named_parameters()):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            assert float((one.grad - other.grad).abs().max()) <= 1e-5 * max(1.0, largest), name


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_step_that_is_given_up_leaves_no_trace(format_data, make_waves, at):
    torch.manual_seed(0)
    model = SSLModel(config()).train()
    data = SegmentDataset(WaveArchive(format_data("train", make_waves(12))), model.cuts, 4, 15360, 16000, 0)
    parts, asked, restored, before = [data.batch(number) for number in range(3)], [], [], torch.get_rng_state()
    give_up = lambda share: asked.append(share) or round(6 * share) == at  # noqa: E731
    assert cached_backward(model, parts, model.head_outputs, lambda: restored.append(1), give_up) is None
    assert (
        asked == pytest.approx([number / 6 for number in range(1, at + 1)])
        and restored
        and torch.get_rng_state().equal(before)
    )


def test_partners_count_through():
    view = View(transforms=(Mix(),))
    parts = [
        {
            view: RenderedView(
                view, np.zeros(2), {"mix": {"partner": np.array([1, 0]), "snr_db": np.array([3.0, 4.0])}}, period
            )
        }
        for period in (None, np.array([1.0, 2.0]))
    ]
    joined = joined_views(parts)[view]
    assert joined.param("mix", "partner").tolist() == [1, 0, 3, 2] and joined.param("mix", "snr_db").tolist() == [
        3.0,
        4.0,
        3.0,
        4.0,
    ]
    assert joined.period.tolist() == [np.inf, np.inf, 1.0, 2.0]


def test_a_run_trains_resumes_and_says_what_it_cannot(format_data, make_waves, tmp_path):
    data = format_data("train", make_waves(12))
    settings = dict(accumulate=2, cached_batch=True, log_interval=1)
    for name in ("whole", "parts", "byol"):
        (tmp_path / name).mkdir()
    pretrain(config(max_steps=3, **settings), tmp_path / "whole", data)
    pretrain(config(max_steps=2, **settings), tmp_path / "parts", data)
    pretrain(config(max_steps=3, **settings), tmp_path / "parts", data)
    whole, parts = (torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("whole", "parts"))
    assert all(whole[key].equal(parts[key]) for key in whole)
    byol = config(**settings)
    byol["strategies"] = {
        "clip": {**byol["strategies"]["clip"], "loss": {"name": "byol", "hidden_dim": 8, "momentum": 0.99}}
    }
    with pytest.raises(ConfigError, match="training.cached_batch: a loss with a target network"):
        pretrain(byol, tmp_path / "byol", data)
