"""whitening.py, embedding/fitting.py and stages/whiten.py: the map, its use in a model, and errors."""

import re

import numpy as np
import pytest
import torch

from ssltoolkit.embedding import load_frozen
from ssltoolkit.embedding.fitting import fit_whitening
from ssltoolkit.errors import ConfigError, UserError
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.stages.whiten import whiten_checkpoint
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint
from ssltoolkit.whitening import FLOOR, Whitening


def correlated(n=3000, dim=12, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((n, 5)) @ rng.standard_normal((5, dim)) + 0.1 * rng.standard_normal((n, dim)) + 7.0
    ).astype(np.float32)


def test_whitened_values_are_uncorrelated_and_of_like_size():
    rows = correlated()
    y = Whitening.fitted(rows, 5)(torch.from_numpy(rows)).numpy()
    covariance = np.cov(y.T)
    off = covariance - np.diag(np.diag(covariance))
    assert y.shape == (3000, 5) and np.abs(off).max() < 2e-2 and np.abs(y.mean(0)).max() < 1e-3
    normal = (rows - rows.mean(0)) / rows.std(0)
    strongest = np.sort(np.linalg.eigvalsh(np.corrcoef(normal.T)))[::-1][:5]
    np.testing.assert_allclose(np.diag(covariance), (np.sqrt(strongest) / (np.sqrt(strongest) + FLOOR)) ** 2, rtol=2e-2)


def test_kept_columns_follow_standardised():
    rows = correlated()
    made = Whitening.fitted(rows, 3, kept=[(4, 6), (11, 12)])
    y = made(torch.from_numpy(rows)).numpy()
    assert made.out_dim == y.shape[1] == 3 + 3 and made.rotated == [(0, 4), (6, 11)]
    kept = rows[:, [4, 5, 11]]
    np.testing.assert_allclose(y[:, 3:], (kept - kept.mean(0)) / kept.std(0), rtol=1e-3, atol=1e-3)


def test_columns_whitened_apart_get_their_number_of_values():
    rows = correlated(dim=14)
    together = Whitening.fitted(rows[:, [*range(4), *range(9, 14)]], 4)(
        torch.from_numpy(rows[:, [*range(4), *range(9, 14)]])
    )
    alone = Whitening.fitted(rows[:, 4:9], 2)(torch.from_numpy(rows[:, 4:9]))
    made = Whitening.fitted(rows, 6, apart=[([(4, 9)], 2)])
    y = made(torch.from_numpy(rows))
    assert made.out_dim == 6
    torch.testing.assert_close(y, torch.cat([together, alone], 1), atol=1e-4, rtol=1e-4)
    # 240 rows allow 120 directions, divided between the parts in proportion.
    few = Whitening.fitted(correlated(240, 300), 200, apart=[([(0, 150)], 100)])
    assert few.out_dim == 120 and int((few.directions[:150] != 0).any(0).sum()) == 60


def test_constant_values_and_few_rows():
    rows = correlated(300)
    rows[:, 3] = 2.0
    y = Whitening.fitted(rows, 100)(torch.from_numpy(rows))
    assert torch.isfinite(y).all() and y.shape[1] == 12
    with pytest.raises(ValueError, match="199 embeddings are too few"):
        Whitening.fitted(rows[:199], 4)
    rows[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        Whitening.fitted(rows, 4)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[2] / "tools/bench"))
    from material import write_archive

    yield write_archive(tmp_path_factory.mktemp("corpus"), 220, 1.0)
    sys.path.pop(0)


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    def write(*overrides):
        config = tiny_config("embedding.whiten=6", "embedding.frame_context=0.4", *overrides)
        save_checkpoint(tmp_path / "best.pt", {"config": config, "model": build_model(config).state_dict(), "step": 1})
        return tmp_path / "best.pt"

    return write


def test_a_checkpoint_carries_its_whitening(checkpoint, archive, capsys):
    path, wave = checkpoint(), 0.1 * torch.randn(2, 16000)
    plain = load_frozen(str(path))
    assert "holds no whitening" in capsys.readouterr().err and plain.whitening is None
    whiten_checkpoint(path, archive)
    before = path.read_bytes()
    whiten_checkpoint(path, archive)
    assert path.read_bytes() == before  # the second call changes nothing
    model = load_frozen(str(path))
    assert (
        model.scene_dim == 6 and model.frame_dim == 6 and model.identity["model_hash"] != plain.identity["model_hash"]
    )
    scenes, frames = model.both(wave)
    assert frames.equal(model.frames(wave)) and scenes.equal(model.scenes(wave)) and not model.pools_frames
    torch.testing.assert_close(scenes, model.whitening["scene"](plain.scenes(wave)))
    torch.testing.assert_close(frames, model.whitening["frame"](plain.frames(wave)))


def test_baselines_are_whitened_on_the_same_audio(checkpoint, archive):
    path, wave = checkpoint(), 0.1 * torch.randn(1, 16000)
    untrained = load_frozen(f"random:{path}", whiten_data=archive)
    again = load_frozen(f"random:{path}", whiten_data=archive)
    assert (
        untrained.scene_dim == 6
        and untrained.scenes(wave).equal(again.scenes(wave))
        and untrained.identity == again.identity
    )


def test_another_pooling_than_it_was_fitted_to_is_refused(checkpoint, archive):
    path = checkpoint()
    whiten_checkpoint(path, archive)
    content = load_checkpoint(path)
    content["config"]["embedding"]["scene"] = "max"
    save_checkpoint(path, content)
    with pytest.raises(UserError, match="expects scene embeddings of .* values, but .* give .*embedding.whiten=0"):
        load_frozen(str(path))
    content["config"]["embedding"]["whiten"] = 0
    save_checkpoint(path, content)
    assert load_frozen(str(path)).whitening is None


def test_too_few_clips_are_not_whitened(checkpoint, format_data, make_waves, capsys):
    model = load_frozen(str(checkpoint()))
    assert fit_whitening(model, format_data("few", make_waves(5)), 6) == {}
    assert "has 5 clips, at least 200 are needed" in capsys.readouterr().out


def test_an_output_is_whitened_by_itself(checkpoint, archive):
    path, wave = checkpoint("embedding.whiten_apart={linear: 2}"), 0.1 * torch.randn(1, 16000)
    whiten_checkpoint(path, archive)
    model = load_frozen(str(path))
    assert model.scene_dim == model.frame_dim == 6 and torch.isfinite(model.scenes(wave)).all()
    columns = [place for places, _ in model.columns_apart("scene") for place in places]
    inside = torch.zeros(model.whitening["scene"].dim, dtype=torch.bool)
    for first, last in columns:
        inside[first:last] = True
    directions = model.whitening["scene"].directions
    assert int((directions[inside] != 0).any(0).sum()) == 2 and int((directions[~inside] != 0).any(0).sum()) == 4


@pytest.mark.parametrize(
    "override, reported",
    [
        (
            "embedding.whiten_apart={linaer: 2}",
            "whiten_apart: the encoder has no output 'linaer'; did you mean 'linear'?",
        ),
        ("embedding.whiten_apart={linear: 6}", "whiten_apart: takes 6 values, whiten has 6; leave some to the others"),
        ("embedding.whiten_apart={linear: 0}", "whiten_apart.linear: "),
    ],
)
def test_wrong_parts_are_refused_before_the_training(tiny_config, override, reported):
    with pytest.raises(ConfigError, match=re.escape(reported)):
        build_model(tiny_config("embedding.whiten=6", override))


def test_frames_may_stay_as_they_are(checkpoint, archive):
    path, wave = checkpoint("embedding.whiten_frames=false"), 0.1 * torch.randn(1, 16000)
    plain = load_frozen(str(path))
    whiten_checkpoint(path, archive)
    model = load_frozen(str(path))
    assert model.scene_dim == 6 and model.frame_dim == plain.frame_dim and list(model.whitening) == ["scene"]
    scenes, frames = model.both(wave)
    assert frames.equal(plain.frames(wave)) and scenes.equal(model.scenes(wave))
    untrained = load_frozen(f"random:{path}", whiten_data=archive)
    assert untrained.scene_dim == 6 and untrained.frame_dim == plain.frame_dim
