"""ONNX: one file from waveform to embeddings agrees with torch at any length; embedding with onnxruntime alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from ssltoolkit import command_line
from ssltoolkit.bin import embed, export
from ssltoolkit.config import load_config
from ssltoolkit.embedding import EncoderModel, load_frozen
from ssltoolkit.errors import UserError
from ssltoolkit.export.onnx_graph import write_onnx
from ssltoolkit.hub.onnx_model import OnnxModel
from ssltoolkit.model import build_encoder, build_frontend
from ssltoolkit.settings import EmbeddingSettings
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.training.checkpoint import save_checkpoint

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs the extra onnx")

ROOT = Path(__file__).resolve().parents[3]
LONG = os.environ.get("SSLTOOLKIT_LONG") == "1"
#: models that cover every kind of graph: input level, two resolutions, context, pooling per output
SMALL = {
    "stretches": {"frontend": {"name": "logmel_dual", "input_level": -20}, "encoder": {"name": "cnn_small", "width": 4, "pitch_axes": 2},
                  "embedding": {"scene": {"pitch_axis": "max+mean", "others": "max+std"}, "frame_context": 1.0}},
    "shifts": {"frontend": {"name": "logmel", "n_mels": 32}, "encoder": {"name": "cnn14", "embed_dim": 16, "width": 2}},
    "windows": {"frontend": {"name": "logmel", "n_mels": 32}, "encoder": {"name": "vit", "embed_dim": 16, "heads": 2, "layers": 1}},
}  # fmt: skip
FULL = {
    "cnn_small": {
        "frontend": {"name": "logmel_dual", "input_level": -20},
        "encoder": {"name": "cnn_small"},
        "embedding": {"frame_context": 1.0},
    },
    **{
        name: {"frontend": {"name": "logmel"}, "encoder": {"name": name}}
        for name in ("efficientnet_b0", "audiontt", "cnn14")
    },
}
#: number of the hundred lengths that are run for a slow encoder
FEWER = {"cnn14": 17}


def frozen(parts):
    """Build a model with untrained weights."""
    frontend = build_frontend(parts)
    settings = EmbeddingSettings(**parts.get("embedding", {}))
    return EncoderModel(
        frontend, build_encoder(parts, frontend), settings, 0.96, {"model": "untrained", "model_hash": "0"}
    )


def largest_difference(model, loaded, lengths, batch=1):
    """Largest difference of scenes and frames, relative to the largest value; asserts that the times agree."""
    rng, worst = np.random.default_rng(0), 0.0
    for samples in lengths:
        waves = (rng.uniform(0.01, 0.5) * rng.standard_normal((batch, int(samples)))).astype(np.float32)
        scenes, frames = loaded.both(waves)
        wanted = model.scenes(torch.from_numpy(waves)).numpy(), model.frames(torch.from_numpy(waves)).numpy()
        for found, right in zip((scenes, frames), wanted):
            assert found.shape == right.shape and found.dtype == np.float32, samples
            worst = max(worst, np.abs(found - right).max() / np.abs(right).max())
        times = loaded._session.run(["times_ms"], {"waveform": waves})[0]
        np.testing.assert_allclose(times, model.timestamps_ms(frames.shape[1]), rtol=1e-6)
    return worst


@pytest.fixture(
    scope="module",
    params=[
        "stretches",
        "shifts",
        pytest.param("windows", marks=pytest.mark.skipif(not LONG, reason="an export takes long: SSLTOOLKIT_LONG=1")),
    ],
)
def small(request, tmp_path_factory):
    """A small model and its exported file."""
    folder = tmp_path_factory.mktemp("onnx")
    torch.manual_seed(0)
    model = frozen(SMALL[request.param])
    write_onnx(model, folder / "model.onnx")
    return model, folder / "model.onnx"


def test_agrees_with_torch_at_any_length(small):
    model, path = small
    loaded = OnnxModel(path)
    lengths = [1600, 4000, 15360, 15361, 16000, *np.random.default_rng(1).integers(1600, 80000, 25)]
    assert largest_difference(model, loaded, lengths) < 1e-5
    assert largest_difference(model, loaded, [5000, 33333], batch=2) < 1e-5
    silence = np.zeros((1, 8000), np.float32)
    np.testing.assert_allclose(loaded.scenes(silence), model.scenes(torch.zeros(1, 8000)), rtol=1e-4, atol=1e-4)
    assert (loaded.sample_rate, loaded.hop_ms, loaded.scene_dim, loaded.frame_dim) == (
        model.sample_rate,
        model.hop_ms,
        model.scene_dim,
        model.frame_dim,
    )


@pytest.mark.skipif(not LONG, reason="takes minutes: SSLTOOLKIT_LONG=1 runs it")
@pytest.mark.parametrize("name", FULL)
def test_agrees_with_torch_on_a_hundred_lengths_to_a_minute(tmp_path, name):
    torch.set_num_threads(2)
    model = frozen(FULL[name])
    write_onnx(model, tmp_path / "model.onnx")
    lengths = np.exp(np.random.default_rng(2).uniform(np.log(1600), np.log(960000), 100)).astype(int)
    lengths = lengths[: FEWER.get(name, 100)]
    worst = largest_difference(model, OnnxModel(tmp_path / "model.onnx"), lengths)
    longest = max(lengths) / 16000
    print(f"{name}: largest difference {worst:.2g} of the largest value, {len(lengths)} lengths to {longest:.1f} s")
    assert worst < 1e-4


WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxscript"):
            raise ImportError(name + " must not be needed")
sys.meta_path.insert(0, Blocked())
from ssltoolkit.bin.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_onnxruntime_alone_embeds(small, tmp_path, format_data, make_waves):
    model, path = small
    wave = 0.1 * np.random.default_rng(0).standard_normal(20000)
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    data = format_data("data", make_waves(3))
    for arguments in (["a.wav", "-o", "a.npz"], ["--data_dir", str(data), "--out_dir", "out", "--kind", "frame"]):
        command = [sys.executable, "-c", WITHOUT_TORCH, "embed", "--model", str(path), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    found, right = np.load(tmp_path / "a.npz"), torch.from_numpy(wave.astype(np.float32))[None]
    np.testing.assert_allclose(found["a.frames"], model.frames(right)[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["a.scene"], model.scenes(right)[0], rtol=1e-3, atol=1e-4)
    assert np.load(tmp_path / "out/embeddings.npy").shape[1] == model.frame_dim


def test_the_file_is_a_frozen_model_everywhere(small):
    model, path = small
    loaded, wave = load_frozen(str(path)), 0.1 * torch.randn(2, 9000)
    np.testing.assert_allclose(loaded.scenes(wave), model.scenes(wave), rtol=1e-3, atol=1e-4)
    assert loaded.identity["model_hash"] == OnnxModel(path).identity["model_hash"] != model.identity["model_hash"]
    with pytest.raises(UserError, match="only models with a frontend and an encoder"):
        loaded.save_pretrained(path.parent / "folder")


def test_files_that_are_no_models(tmp_path, capsys):
    import onnx

    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", onnx.TensorProto.FLOAT, [1])], [value("y", onnx.TensorProto.FLOAT, [1])]
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9),
        str(tmp_path / "other.onnx"),
    )
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16000)
    for name, message in (
        ("none.onnx", "no such file"),
        ("bad.onnx", "not readable as ONNX"),
        ("other.onnx", "not a model of this toolkit"),
    ):
        assert (
            command_line.run(
                embed.main, [str(tmp_path / "a.wav"), "-o", str(tmp_path / "o.npz"), "--model", str(tmp_path / name)]
            )
            == 2
        )
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


PLUGIN = """
import torch
from ssltoolkit.encoders.base import Encoder
from ssltoolkit.registry import register

@register("encoder", "{name}", provided=("n_mels",))
class Odd(Encoder):
    '''An encoder that no graph can hold.

    Args:
        n_mels: F.
    '''

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.embed_dim, self.stride, self.context_frames = n_mels, 4, 0

    def encode(self, x):
        x = x[:, ::4]
        {line}
"""


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("odd_sorted", "return torch.linalg.lu_factor(x @ x.mT)[0] @ x", "linalg_lu_factor"),
        ("odd_branch", "return x if float(x.mean()) > 0 else -x", "odd.py:"),
    ],
)
def test_what_cannot_be_exported_is_named(tmp_path, capsys, tiny_yaml, name, line, message):
    (tmp_path / "odd.py").write_text(PLUGIN.format(name=name, line=line))
    config = yaml.safe_load(tiny_yaml.read_text())
    config.update(plugins=[str(tmp_path / "odd.py")], encoder={"name": name})
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(config))
    resolved = load_config(tmp_path / "odd.yaml")
    save_checkpoint(tmp_path / "odd.pt", {"config": resolved, "model": build_model(resolved).state_dict()})
    command = [
        "--model",
        str(tmp_path / "odd.pt"),
        "--config",
        str(tmp_path / "odd.yaml"),
        "--output",
        str(tmp_path / "odd.onnx"),
    ]
    assert command_line.run(export.main, command) == 2
    error = capsys.readouterr().err
    assert "Odd cannot be exported to ONNX: operation" in error and message in error and "--format safetensors" in error
    assert error.count("\n") == 1 and not (tmp_path / "odd.onnx").exists()


def test_without_its_packages(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert command_line.run(export.main, ["--model", "shipped", "--output", str(tmp_path / "a.onnx")]) == 2
    assert "pip install 'ssltoolkit[onnx]'" in capsys.readouterr().err
