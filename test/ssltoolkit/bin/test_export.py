"""A small file of what a checkpoint hands out frozen gives the same embeddings."""

import torch

from ssltoolkit.bin import _cli, export
from ssltoolkit.embedding import load_frozen
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint
from ssltoolkit.training.run import build_model


def test_exported_and_whole_checkpoint_agree(tiny_config, tmp_path, capsys):
    config = tiny_config("embedding.scene=mean+std", "frontend.input_level=-20")
    model = build_model(config)
    save_checkpoint(tmp_path / "best.pt", {"config": config, "model": model.state_dict(), "optimizer": {}, "step": 7})
    assert _cli.run(export.main, ["--model", str(tmp_path / "best.pt"), "--output", str(tmp_path / "small.pt")]) == 0
    wave = torch.randn(2, 16000) * 0.1
    whole, small = load_frozen(str(tmp_path / "best.pt")), load_frozen(str(tmp_path / "small.pt"))
    assert f"scene embedding {whole.scene_dim}, frame embedding {whole.frame_dim}, hop {whole.hop_ms:g} ms" in capsys.readouterr().out
    assert small.scenes(wave).equal(whole.scenes(wave)) and small.frames(wave).equal(whole.frames(wave))
    content = load_checkpoint(tmp_path / "small.pt")
    assert content["step"] == 7 and "optimizer" not in content and not any(key.startswith("strategies") for key in content["model"])
    assert (tmp_path / "small.pt").stat().st_size < (tmp_path / "best.pt").stat().st_size


def test_nothing_to_export(tmp_path, capsys):
    assert _cli.run(export.main, ["--model", str(tmp_path / "none.pt"), "--output", str(tmp_path / "small.pt")]) == 2
    assert "no such checkpoint" in capsys.readouterr().err and not (tmp_path / "small.pt").exists()
