"""Exported models give the same embeddings as the checkpoint."""

import numpy as np
import soundfile
import torch

from ssltoolkit import command_line
from ssltoolkit.bin import embed, export
from ssltoolkit.embedding import load_frozen
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint


def test_exported_and_whole_checkpoint_agree(tiny_config, tmp_path, capsys):
    config = tiny_config("embedding.scene=mean+std", "frontend.input_level=-20")
    model = build_model(config)
    save_checkpoint(tmp_path / "best.pt", {"config": config, "model": model.state_dict(), "optimizer": {}, "step": 7})
    assert (
        command_line.run(
            export.main, ["--model", str(tmp_path / "best.pt"), "--output", str(tmp_path / "new/small.pt")]
        )
        == 0
    )
    wave = torch.randn(2, 16000) * 0.1
    whole, small = load_frozen(str(tmp_path / "best.pt")), load_frozen(str(tmp_path / "new/small.pt"))
    assert (
        f"scene embedding {whole.scene_dim}, frame embedding {whole.frame_dim}, hop {whole.hop_ms:g} ms"
        in capsys.readouterr().out
    )
    assert small.scenes(wave).equal(whole.scenes(wave)) and small.frames(wave).equal(whole.frames(wave))
    content = load_checkpoint(tmp_path / "new/small.pt")
    assert (
        content["step"] == 7
        and "optimizer" not in content
        and not any(key.startswith("strategies") for key in content["model"])
    )
    assert (tmp_path / "new/small.pt").stat().st_size < (tmp_path / "best.pt").stat().st_size


def test_the_same_weights_are_handed_out_otherwise(tiny_config, tmp_path, capsys):
    config = tiny_config("embedding.scene=mean+std")
    save_checkpoint(tmp_path / "best.pt", {"config": config, "model": build_model(config).state_dict()})
    command = ["--model", str(tmp_path / "best.pt"), "--output", str(tmp_path / "small.pt")]
    for override, message in (
        ("embedding.scene=median", "embedding.scene: must be one of max, mean, std, got 'median'"),
        (
            "embedding.scene={contxt: max}",
            "embedding.scene.contxt: the encoder has no output of this name; did you mean 'context'?",
        ),
        ("embedding.scenes=max", "embedding.scenes: nothing reads this key"),
        ("encoder.width=8", "--set encoder.width=8: only keys of embedding can change without training"),
    ):
        assert command_line.run(export.main, [*command, "--set", override]) == 2
        found = capsys.readouterr().err
        assert message in found and "Traceback" not in found and not (tmp_path / "small.pt").exists(), found
    assert (
        command_line.run(
            export.main, [*command, "--set", "embedding.scene={linear: max}", "--set", "embedding.frame_context=0.4"]
        )
        == 0
    )
    wave = torch.randn(2, 16000) * 0.1
    whole, small = load_frozen(str(tmp_path / "best.pt")), load_frozen(str(tmp_path / "small.pt"))
    linear = slice(whole.encoder.outputs["context"], None)
    assert small.scenes(wave).equal(whole.frames(wave)[..., linear].amax(1)) and small.frame_dim == 2 * whole.frame_dim


def test_nothing_to_export(tmp_path, capsys):
    assert (
        command_line.run(export.main, ["--model", str(tmp_path / "none.pt"), "--output", str(tmp_path / "small.pt")])
        == 2
    )
    assert "no such checkpoint" in capsys.readouterr().err and not (tmp_path / "small.pt").exists()


def test_files_are_embedded_by_the_shipped_model_without_naming_one(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    assert (
        command_line.run(embed.main, [str(tmp_path / "a.wav"), "-o", str(tmp_path / "out.npz"), "--device", "cpu"]) == 0
    )
    found = np.load(tmp_path / "out.npz")
    model = load_frozen("shipped")
    assert found["a.scene"].shape == (model.scene_dim,) and found["a.frames"].shape == (25, model.frame_dim)
    assert all(np.isfinite(found[name]).all() for name in found.files if name != "model")
