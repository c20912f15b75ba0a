"""hub/: a model saved as a folder gives the same embeddings when loaded, in every program that takes a model."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import ssltoolkit
from ssltoolkit import command_line, hear
from ssltoolkit.bin import embed, export
from ssltoolkit.embedding import SHIPPED, load_frozen
from ssltoolkit.errors import UserError
from ssltoolkit.hub.folder import read_folder
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.training.checkpoint import save_checkpoint
from ssltoolkit.whitening import Whitening


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    """A complete checkpoint of a small, untrained model."""
    config = tiny_config("embedding.scene=mean+std", "embedding.frame_context=0.4", "frontend.input_level=-20")
    path = tmp_path / "exp/main/small/best.pt"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, {"config": config, "model": build_model(config).state_dict(), "step": 7})
    return path


@pytest.fixture
def folder(checkpoint, tmp_path):
    return load_frozen(str(checkpoint)).save_pretrained(tmp_path / "folder")


def same(one, two):
    wave = 0.1 * torch.randn(2, 20000, generator=torch.Generator().manual_seed(1))
    return one.scenes(wave).equal(two.scenes(wave)) and one.frames(wave).equal(two.frames(wave))


def test_a_folder_is_the_model(checkpoint, folder):
    whole, loaded = load_frozen(str(checkpoint)), ssltoolkit.FrozenModel.from_pretrained(folder)
    assert same(whole, loaded)
    for name in (str(folder), str(folder / "config.json"), str(folder / "model.safetensors")):
        assert same(whole, load_frozen(name))
    assert same(whole, hear.load_model(str(folder)).model)
    config = json.loads((folder / "config.json").read_text())
    assert config["step"] == 7 and config["config"]["strategies"].keys() == {"clip", "frame", "pitch"}
    assert (config["sample_rate"], config["hop_ms"], config["scene_dim"], config["frame_dim"]) == (
        16000,
        40.0,
        loaded.scene_dim,
        loaded.frame_dim,
    )
    assert config["versions"]["ssltoolkit"] == ssltoolkit.__version__
    assert config["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_saving_what_was_loaded_changes_nothing(folder, tmp_path):
    again = load_frozen(str(folder)).save_pretrained(tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    one, two = (json.loads((place / "config.json").read_text()) for place in (folder, again))
    assert one == two
    assert load_frozen(str(again)).identity["model_hash"] == load_frozen(str(folder)).identity["model_hash"]


@pytest.mark.parametrize("name", ["baseline:logmel", "random:efficientnet_b0", "shipped"])
def test_every_model_of_the_toolkit_can_be_saved(name, tmp_path):
    model = load_frozen(name)
    assert same(model, load_frozen(str(model.save_pretrained(tmp_path / "folder"))))


def test_what_only_released_weights_set_is_kept(tmp_path):
    model = load_frozen("random:audiontt")
    model.encoder.pad_value = -1.5
    loaded = load_frozen(str(model.save_pretrained(tmp_path / "folder")))
    assert loaded.encoder.pad_value == -1.5 and same(model, loaded)
    assert (
        loaded.identity["model_hash"]
        != load_frozen(str(load_frozen("random:audiontt").save_pretrained(tmp_path / "other"))).identity["model_hash"]
    )


def test_the_hash_depends_on_weights_and_settings(checkpoint, folder, tmp_path):
    assert (
        command_line.run(
            export.main, ["--model", str(folder), "--output", str(tmp_path / "max"), "--set", "embedding.scene=max"]
        )
        == 0
    )
    first, other = load_frozen(str(folder)), load_frozen(str(tmp_path / "max"))
    assert other.scene_dim < first.scene_dim and first.identity["model_hash"] != other.identity["model_hash"]
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert load_frozen(str(tmp_path / "elsewhere")).identity["model_hash"] == first.identity["model_hash"]


def test_programs_take_a_folder(folder, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    for model in (str(folder), f"random:{folder}"):
        assert (
            command_line.run(
                embed.main,
                [str(tmp_path / "a.wav"), "-o", str(tmp_path / "out.npz"), "--device", "cpu", "--model", model],
            )
            == 0
        )
        assert np.load(tmp_path / "out.npz")["a.scene"].shape == (load_frozen(str(folder)).scene_dim,)
    for output in ("small.pt", "new/folder"):
        assert command_line.run(export.main, ["--model", str(folder), "--output", str(tmp_path / output)]) == 0
        assert same(load_frozen(str(folder)), load_frozen(str(tmp_path / output)))


def test_the_card_says_what_is_known(checkpoint, tmp_path):
    (checkpoint.parent / "run.sh").write_text(
        "#!/usr/bin/env bash\n# Repeats this experiment.\ncd /home/secret || exit 2\nexport DATA=/mnt/secret\n"
        'exec ./run.sh --stage 4  "$@"\n'
    )
    (checkpoint.parents[1] / "RESULTS.md").write_text(
        "# Results\n\n| model | accuracy |\n|---|---|\n| small | 12.5 ± 0.1 |\n\n| other |\n|---|\n"
    )
    command = [
        "--model",
        str(checkpoint),
        "--output",
        str(tmp_path / "folder"),
        "--license",
        "Apache-2.0",
        "--data",
        "3 clips",
    ]
    assert command_line.run(export.main, command) == 0
    card = (tmp_path / "folder/README.md").read_text()
    for text in ("license: apache-2.0", "| licence | Apache-2.0 |", "| trained on | 3 clips |", "| steps | 7 of 6 clips, seed 0 |", "./run.sh --stage 4",
                 "| small | 12.5 ± 0.1 |", "this model is `small`", "`clip`, `frame`, `pitch`"):  # fmt: skip
        assert text in card, text
    assert "| other |" not in card and "secret" not in card
    bare = (load_frozen("random:cnn_small").save_pretrained(tmp_path / "bare") / "README.md").read_text()
    assert "not recorded" in bare and "untrained" in bare and "Not available" in bare


@pytest.mark.parametrize("name", ["random:cnn_small", "baseline:logmel"])
def test_a_whitening_of_ones_own_is_saved(name, tmp_path):
    model = load_frozen(name)
    scenes = torch.randn(250, model.scene_dim, generator=torch.Generator().manual_seed(0)).numpy()
    model.whiten(scene=Whitening.fitted(scenes, 16))
    model.save_pretrained(tmp_path / "folder")
    again = load_frozen(str(tmp_path / "folder"))
    assert again.scene_dim == 16 and same(model, again)
    again.save_pretrained(tmp_path / "copy")
    assert same(model, load_frozen(str(tmp_path / "copy")))


def test_damage_is_one_line(folder, tmp_path):
    config = (folder / "config.json").read_text()
    for text, message in (
        ("{", "not readable as JSON"),
        ("[]", "not a model of this toolkit"),
        (config.replace('"ssltoolkit",', '"bert",', 1), "not a model of this toolkit"),
        (config.replace('"format": 1', '"format": 9'), "of format 9, this version reads 1"),
        (config.replace('"cnn_small"', '"cnn_smal"'), "did you mean 'cnn_small'"),
        (config.replace('"width": 4', '"width": 8'), "weights of another architecture"),
        (config.replace('"format": 1', '"format": 1, "pad_value": "x"'), "pad_value must be a number"),
    ):
        (folder / "config.json").write_text(text)
        with pytest.raises(UserError, match=message) as found:
            load_frozen(str(folder))
        assert "\n" not in str(found.value)
    (folder / "config.json").write_text(config)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + b"x")
    with pytest.raises(UserError, match="damaged: its checksum"):
        read_folder(folder)
    (folder / "config.json").write_text(
        json.dumps({key: value for key, value in json.loads(config).items() if key != "sha256"})
    )
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="not readable as weights"):
        read_folder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="copy the whole folder"):
        read_folder(folder)
    with pytest.raises(UserError, match="a model is a folder with config.json and model.safetensors"):
        load_frozen(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: is a file"):
        load_frozen("baseline:logmel").save_pretrained(tmp_path / "file")


def test_names_that_no_format_has(folder, tmp_path, capsys):
    for options, message in (
        (["--output", "a.safetensors"], "give NAME.pt, NAME.onnx, or a folder"),
        (["--output", "a", "--format", "pt"], "--format pt needs a name in .pt"),
        (["--output", "a.pt", "--format", "safetensors"], "--format safetensors needs the name of a folder"),
        (["--output", str(tmp_path / "a"), "--card", "none.md"], "--card none.md: cannot be read"),
    ):
        assert command_line.run(export.main, ["--model", str(folder), *options]) == 2
        assert message in capsys.readouterr().err


def test_the_shipped_model_is_such_a_folder():
    assert read_folder(SHIPPED)[0]["step"] == 2000
    assert "Apache-2.0" in (SHIPPED / "README.md").read_text()


def test_importing_the_package_is_quick():
    code = "import sys, ssltoolkit; assert 'torch' not in sys.modules; ssltoolkit.FrozenModel; assert 'torch' in sys.modules; assert not hasattr(ssltoolkit, 'Other')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_waves_that_are_none_are_told_in_one_line(folder):
    model, wave = ssltoolkit.FrozenModel.from_pretrained(folder), 0.1 * torch.randn(1, 8000)
    for embed_waves in (model.scenes, model.frames, model.both, lambda waves: model.streamed(waves, list)):
        for waves, error, message in (
            (wave.numpy(), TypeError, "must be a torch.Tensor, got ndarray; convert a NumPy array by torch.from_numpy"),
            ((32768 * wave).short(), TypeError, "must be floating-point in .* divide 16-bit samples by 32768"),
            (
                wave[0],
                ValueError,
                r"must be \(sounds, samples\) .* got \(8000,\); for a single sound pass waves\[None\]",
            ),
            (wave[:, :0], ValueError, r"got \(1, 0\)"),
        ):
            with pytest.raises(error, match=message):
                embed_waves(waves)
    assert model.scenes(wave.double()).equal(model.scenes(wave))
    with pytest.raises(UserError, match="no such checkpoint or model folder; give the path of one"):
        ssltoolkit.FrozenModel.from_pretrained(folder.parent / "none")
