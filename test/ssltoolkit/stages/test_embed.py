"""stages/embed.py: stage 5, and embeddings of audio files."""

import json

import numpy as np
import pytest
import soundfile
import torch

from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.embedding import load_frozen
from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.store import EmbeddingStore
from ssltoolkit.stages.embed import EmbedOptions, embed, embed_directory, embed_files
from ssltoolkit.stages.format import Formatter


@pytest.fixture
def model(tiny_yaml):
    return load_frozen(f"random:{tiny_yaml}")


def formatted(data, out):
    formatter = Formatter(data, out)
    formatter.run_job(1, 1)
    formatter.finish(0.0)
    return out


@pytest.fixture
def folder(write_data, make_waves, tmp_path):
    lengths = (0.5, 1.3, 0.5, 0.001, 1.3)
    return formatted(write_data("d", [make_waves(5, seconds=s)[k] for k, s in enumerate(lengths)]), tmp_path / "waves")


def direct(model, folder):
    archive = WaveArchive(folder)
    return {
        utt: model.frames(torch.from_numpy(archive.read(k) / np.float32(32768))[None])[0]
        for k, utt in enumerate(archive.utt_ids)
    }


@pytest.mark.parametrize("kind", ["scene", "frame"])
def test_embeddings_equal_the_model(model, folder, tmp_path, kind):
    embed_directory(model, folder, tmp_path / "out", kind)
    store = EmbeddingStore(tmp_path / "out")
    assert sorted(store.utt_ids) == [f"utt{k:02d}" for k in range(5)]
    assert {key: store.meta[key] for key in model.identity} == model.identity and store.meta["hop_ms"] == 40.0
    for utt, frames in direct(model, folder).items():
        rows = store.matrix[store.rows(utt)]
        expected = frames if kind == "frame" else model.scenes_of(frames[None])
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)
        if kind == "frame":
            np.testing.assert_array_equal(store.timestamps_ms(utt), 40.0 * (np.arange(len(frames)) + 0.5))


def test_a_second_run_does_nothing_and_a_change_is_redone(model, folder, tmp_path, capsys, tiny_yaml, make_waves):
    out = tmp_path / "out"
    stamp = lambda: (out / "embeddings.npy").stat().st_mtime_ns  # noqa: E731
    embed_directory(model, folder, out, "scene")
    first = stamp()
    embed_directory(model, folder, out, "scene")
    assert stamp() == first and "already there" in capsys.readouterr().out
    embed_directory(load_frozen(f"random:{tiny_yaml}", seed=1), folder, out, "scene")
    second = stamp()
    assert second != first
    old = np.array(EmbeddingStore(out).matrix)
    soundfile.write(tmp_path / "d/audio/utt00.wav", make_waves(1, seconds=0.5, seed=8)[0], 16000)
    formatted(tmp_path / "d", folder)  # the same number of samples as before
    embed_directory(load_frozen(f"random:{tiny_yaml}", seed=1), folder, out, "scene")
    assert stamp() != second and not np.array_equal(old, EmbeddingStore(out).matrix)
    (out / "meta.json").unlink()
    embed_directory(load_frozen(f"random:{tiny_yaml}", seed=1), folder, out, "frame")
    assert EmbeddingStore(out).kind == "frame"


def test_damage_and_wrong_rates_are_refused(model, folder, write_data, make_waves, tmp_path):
    next(folder.glob("*.ark")).write_bytes(b"RIFF")
    with pytest.raises(UserError, match="run stage 2 again"):
        embed_directory(model, folder, tmp_path / "out", "scene")
    assert not (tmp_path / "out/meta.json").exists()
    formatter = Formatter(write_data("slow", make_waves(2)), tmp_path / "slow-out", 8000)
    formatter.run_job(1, 1)
    formatter.finish(0.0)
    with pytest.raises(UserError, match="waves at 8000 Hz, the frontend expects 16000 Hz"):
        embed_directory(model, tmp_path / "slow-out", tmp_path / "out", "scene")


def test_files_of_any_format_and_rate(model, make_waves, tmp_path):
    paths = []
    for name, rate in (("a.wav", 16000), ("b.flac", 44100), ("c.ogg", 22050)):
        wave = make_waves(1, rate=rate)[0]
        soundfile.write(tmp_path / name, np.stack([wave, wave], 1), rate)
        paths.append(str(tmp_path / name))
    embed_files(model, paths, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as arrays:
        assert sorted(arrays) == sorted(
            ["model", *(f"{name}.{part}" for name in "abc" for part in ("scene", "frames", "times_ms"))]
        )
        assert json.loads(str(arrays["model"])) == model.identity
        for name in "abc":
            count = len(arrays[f"{name}.times_ms"])
            assert (
                arrays[f"{name}.scene"].shape == (32,)
                and arrays[f"{name}.frames"].shape == (count, 16)
                and count in (32, 33)
            )
            np.testing.assert_allclose(arrays[f"{name}.times_ms"], 40 * np.arange(count) + 20)
        wave, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
        np.testing.assert_allclose(
            arrays["a.frames"], model.frames(torch.from_numpy(wave[:, 0])[None])[0], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    "change, passes", [("", 1), ("embedding: {frame_context: 1.0}", 1), ("encoder: {time_stride: 8}", 3)]
)
def test_one_pass_gives_frames_and_scene(tiny_yaml, make_waves, tmp_path, change, passes):
    """One pass, or two if frames have a finer hop than the encoder; the result equals two calls bit for bit."""
    (tmp_path / "changed.yaml").write_text(f"include: {tiny_yaml}\n{change}\n")
    model = load_frozen(f"random:{tmp_path}/changed.yaml")
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    soundfile.write(tmp_path / "a.wav", make_waves(1)[0], 16000)
    embed_files(model, [str(tmp_path / "a.wav")], tmp_path / "out.npz")
    assert len(calls) == passes and model.pools_frames == (passes == 1)
    wave = torch.from_numpy(soundfile.read(tmp_path / "a.wav", dtype="float32")[0])[None]
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["a.scene"], model.scenes(wave)[0])
        np.testing.assert_array_equal(arrays["a.frames"], model.frames(wave)[0])


@pytest.mark.parametrize(
    "inputs, message",
    [
        (
            {"data_dir": ["waves", "dump/raw/level/train"], "out_dir": ["a", "b"]},
            r"^dump/raw/level/train/wav.scp: no such file; prepare the data directory first \(stages 1 and 2\)$",
        ),
        ({"audio": ["none.wav"], "output": "out.npz"}, "^none.wav: no such file$"),
        (
            {"audio": ["none.wav"], "output": "none/out.npz"},
            "^none/out.npz: No such file or directory; make its folder",
        ),
        ({"data_dir": ["waves"], "out_dir": ["a"], "stats": "none.npz"}, "^none.npz"),
        ({"data_dir": ["waves"], "out_dir": ["a"], "device": "tpu"}, "tpu"),
    ],
)
def test_missing_inputs_are_told_before_the_whitening(folder, tiny_yaml, monkeypatch, tmp_path, inputs, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ssltoolkit.embedding.fitting.fit_whitening", lambda *_: pytest.fail("whitens first"))
    (tmp_path / "white.yaml").write_text(f"include: {tiny_yaml}\nembedding: {{whiten: 8}}\n")
    with pytest.raises(UserError, match=message):
        embed(EmbedOptions(model="random:white.yaml", whiten_data="waves", **inputs))


def test_files_that_cannot_be_embedded(model, make_waves, tmp_path):
    soundfile.write(tmp_path / "a.wav", make_waves(1)[0], 16000)
    (tmp_path / "b.wav").write_bytes(b"garbage")
    for paths, output, part in (
        ([tmp_path / "a.wav"], "out.npy", "is an .npz file"),
        ([tmp_path / "a.wav", tmp_path / "a.wav"], "out.npz", "another file is also named 'a'"),
        ([tmp_path / "b.wav"], "out.npz", "cannot be read as audio"),
        ([tmp_path / "none.wav"], "out.npz", "no such file"),
        ([tmp_path], "out.npz", "is a folder; give its files"),
    ):
        with pytest.raises(UserError, match=part):
            embed_files(model, [str(path) for path in paths], tmp_path / output)
    assert not list(tmp_path.glob("out*"))
