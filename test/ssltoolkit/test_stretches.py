"""embedding/stretches.py and data/npz.py: long audio in stretches gives the same as in one piece."""

import numpy as np
import pytest
import torch

from ssltoolkit.data.npz import NpzWriter, Rows
from ssltoolkit.embedding import encoder_model, load_frozen, with_context
from ssltoolkit.embedding.stretches import RunningScenes, context_stretches, joined
from ssltoolkit.frontends import logmel
from ssltoolkit.stages.embed import embed_files
from ssltoolkit.whitening import Whitening


class Pool:
    """The parts of ScenePooling that RunningScenes uses."""

    pools = {(0, 3): "max+mean", (3, 5): "std"}

    def __call__(self, h):
        first, second = h[..., :3], h[..., 3:5]
        return torch.cat([first.amax(1), first.mean(1), second.std(1, correction=0)], dim=-1)


@pytest.mark.parametrize("sizes", [[400], [1, 399], [100, 100, 200], [7] * 40 + [120]])
def test_running_scenes_are_those_of_all_frames(sizes):
    frames = 100.0 + torch.randn(2, sum(sizes), 5)  # far from 0: sums of squares would lose all digits
    running = RunningScenes(Pool())
    assert torch.cat(list(running.watching(frames.split(sizes, dim=1))), dim=1).equal(frames)
    torch.testing.assert_close(running.scenes(), Pool()(frames), rtol=1e-5, atol=1e-5)
    if len(sizes) == 1:
        assert running.scenes().equal(Pool()(frames))


@pytest.mark.parametrize("seconds", [0.0, 0.4, 3.0, 30.0])
@pytest.mark.parametrize("sizes", [[61], [1] * 61, [30, 30, 1], [5, 50, 6]])
def test_context_in_stretches_does_not_see_the_seams(sizes, seconds):
    frames = torch.randn(2, sum(sizes), 4, dtype=torch.float64)
    whole = with_context(frames, seconds, 40.0, [(1, 3)])
    found = joined(context_stretches(iter(frames.split(sizes, dim=1)), seconds, 40.0, [(1, 3)]), frames.shape[1])
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)


def test_frames_that_are_missing_or_too_many_are_an_error():
    for sizes in ((4, 4), (4, 4, 4, 4)):
        with pytest.raises((ValueError, RuntimeError)):
            joined((torch.zeros(1, size, 2) for size in sizes), 12)


@pytest.mark.parametrize("kind", ["cnn_small", "vit", "cnn_small, time_stride: 8"])
@pytest.mark.parametrize("whiten", [False, True])
def test_long_audio_is_embedded_as_in_one_piece(tiny_yaml, tmp_path, monkeypatch, kind, whiten):
    settings = "embedding: {frame_context: 1.0, scene: max+mean+std}\nfrontend: {input_level: -20}\n"
    (tmp_path / "a.yaml").write_text(
        f"include: {tiny_yaml}\n{settings}encoder: {{name: {kind}{', heads: 2' if kind == 'vit' else ''}}}\n"
    )
    model = load_frozen(f"random:{tmp_path}/a.yaml")
    if whiten:
        rng = np.random.default_rng(0)
        model.whiten(
            *(
                Whitening.fitted(rng.standard_normal((400, size)).astype(np.float32), 8)
                for size in (model.scene_dim, model.frame_dim)
            )
        )
    wave = 0.1 * torch.randn(2, 100321) * torch.linspace(0.1, 1.0, 100321)
    scenes, frames = model.both(wave)
    monkeypatch.setattr(encoder_model, "CHUNK_FRAMES", 100)
    monkeypatch.setattr(encoder_model, "WINDOW_FRAMES", 200)
    monkeypatch.setattr(logmel, "_LONG", 16000)
    parts = []
    streamed = model.streamed(wave, parts.append)
    assert len(parts) > 1 or kind.endswith("8")
    torch.testing.assert_close(torch.cat(parts, dim=1), frames, rtol=1e-4, atol=1e-4)
    for found in (streamed, model.both(wave)[0], model.scenes(wave)):
        torch.testing.assert_close(found, scenes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.frames(wave), frames, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [16000, 16001, 47999, 48400, 100])
def test_the_level_of_long_audio_is_that_of_one_piece(monkeypatch, samples):
    frontend, wave = logmel.LogMel(input_level=-20.0), torch.randn(2, samples)
    whole = frontend.gain(wave)
    monkeypatch.setattr(logmel, "_LONG", 1600)
    assert frontend.gain(wave).equal(whole) and frontend.leveled(wave).equal(wave * whole[:, None])


def test_arrays_one_by_one_are_those_of_savez(tmp_path):
    rows = np.arange(24, dtype=np.float32).reshape(8, 3)
    with NpzWriter(tmp_path / "out.npz") as out, Rows(tmp_path) as collected:
        for part in np.split(rows[:, ::-1], [1, 5]):
            collected.add(part)
        out.add("text", np.array("words"))
        out.add_rows("rows", collected)
    np.savez(tmp_path / "plain.npz", text=np.array("words"), rows=np.ascontiguousarray(rows[:, ::-1]))
    with np.load(tmp_path / "out.npz") as found:
        assert found.files == ["text", "rows"] and str(found["text"]) == "words"
        np.testing.assert_array_equal(found["rows"], rows[:, ::-1])
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "plain.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "plain.npz"]


def test_no_half_file_is_left(tiny_yaml, tmp_path):
    with pytest.raises(Exception, match="no such file"):
        embed_files(load_frozen(f"random:{tiny_yaml}"), [str(tmp_path / "missing.wav")], tmp_path / "out.npz")
    assert not list(tmp_path.glob("out.npz*"))
