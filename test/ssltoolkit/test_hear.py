"""hear.py: the checks of the HEAR validator, and: finite, deterministic, independent of the batch, times in ms."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ssltoolkit import hear
from ssltoolkit.embedding import SHIPPED
from ssltoolkit.errors import UserError
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.training.checkpoint import save_checkpoint

DURATIONS = (1.07, 1.98, 2.74, 4.0)


@pytest.fixture(params=["cnn_small", "efficientnet_b0", "baseline", "random"])
def model(request, tiny_config, tmp_path):
    if request.param == "baseline":
        return hear.load_model("baseline:logmel")
    if request.param == "random":
        return hear.load_model("random:cnn_small")
    config = tiny_config(
        *(
            ["encoder={name: efficientnet_b0, embed_dim: 24, time_stride: 4}"]
            if request.param == "efficientnet_b0"
            else []
        )
    )
    save_checkpoint(tmp_path / "a.pt", {"config": config, "model": build_model(config).state_dict()})
    return hear.load_model(str(tmp_path / "a.pt"))


def sounds(model, seconds, count=4):
    wave = 0.3 * torch.randn(count, int(seconds * model.sample_rate), generator=torch.Generator().manual_seed(1))
    wave[0] = 0.0
    return wave


def test_attributes(model):
    assert isinstance(model, torch.nn.Module) and not model.training
    assert model.sample_rate in (16000, 22050, 32000, 44100, 48000)
    for name in ("sample_rate", "scene_embedding_size", "timestamp_embedding_size"):
        assert type(getattr(model, name)) is int


@pytest.mark.parametrize("seconds", DURATIONS)
def test_embeddings(model, seconds):
    audio = sounds(model, seconds)
    frames, times = hear.get_timestamp_embeddings(audio, model)
    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.shape == (4, model.scene_embedding_size) and scenes.dtype == torch.float32
    assert frames.shape == (4, times.shape[1], model.timestamp_embedding_size) and frames.dtype == torch.float32
    assert times.shape == frames.shape[:2] and times.dtype == torch.float32
    assert torch.isfinite(scenes).all() and torch.isfinite(frames).all()
    steps = np.diff(times.numpy().astype(np.float64), axis=1)
    assert np.abs(steps - steps[0, 0]).max() < 0.001 and steps[0, 0] <= 50.0
    assert times[0, 0].item() == pytest.approx(steps[0, 0] / 2)  # the centre of the first frame, in milliseconds
    assert 1000 * seconds - steps[0, 0] <= times[0, -1].item() <= 1000 * seconds
    assert (times == times[0]).all()


def test_deterministic_and_independent_of_the_batch(model):
    audio = sounds(model, 1.07)
    first, (frames, _) = hear.get_scene_embeddings(audio, model), hear.get_timestamp_embeddings(audio, model)
    torch.rand(5)
    model.train()  # a caller that never calls eval()
    assert hear.get_scene_embeddings(audio, model).equal(first)
    other = torch.cat([audio[2:3], 5 * sounds(model, 1.07, 7)])
    assert hear.get_scene_embeddings(other, model)[0].equal(first[2])
    assert hear.get_timestamp_embeddings(other, model)[0][0].equal(frames[2])
    assert hear.get_scene_embeddings(audio[1:2], model).equal(first[1:2])
    assert model(audio).shape == first.shape


def test_different_sounds_differ_and_gradients_are_off(model):
    scenes = hear.get_scene_embeddings(sounds(model, 1.0), model)
    assert not scenes[1].equal(scenes[2]) and not scenes.requires_grad


def test_short_and_other_inputs(model):
    for samples in (1, 80, 700):
        frames, times = hear.get_timestamp_embeddings(torch.ones(2, samples), model)
        assert frames.shape[1] == times.shape[1] >= 1 and torch.isfinite(frames).all()
    assert hear.get_scene_embeddings(torch.zeros(1, 16000, dtype=torch.float64), model).dtype == torch.float32
    for embeddings in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
        for bad in (torch.zeros(16000), torch.zeros(1, 0), torch.zeros(1, 1, 16000), torch.zeros(0, 16000)):
            with pytest.raises(ValueError, match="audio must be"):
                embeddings(bad, model)
        for value in (float("nan"), float("inf")):
            audio = torch.zeros(3, 16000)
            audio[1, 700] = value
            with pytest.raises(ValueError, match=r"^audio\[1\] has a sample that is NaN or infinite"):
                embeddings(audio, model)
            with pytest.raises(ValueError, match=r"^waves\[1\] has a sample"):
                model.model.scenes(audio)
        for other in (np.zeros((1, 16000), dtype=np.float32), [[0.0]]):
            with pytest.raises(TypeError, match="audio must be a torch.Tensor, got (ndarray|list)"):
                embeddings(other, model)


def test_without_a_name_the_shipped_model_is_loaded():
    model = hear.load_model()
    named = hear.load_model("shipped")
    audio = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.equal(hear.get_scene_embeddings(audio, named)) and torch.isfinite(scenes).all()
    assert scenes.std(0).max() > 0  # different inputs have different embeddings
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 6 * 2**20 and (SHIPPED / "README.md").is_file()


def test_load_model_without_a_file():
    with pytest.raises(UserError, match="no such checkpoint"):
        hear.load_model("/none.pt")


TWENTY_MINUTES = """
import resource, sys, torch
from ssltoolkit import hear
torch.set_num_threads(1)
for name in sys.argv[1:]:
    model = hear.load_model(name)
    frames, _ = hear.get_timestamp_embeddings(torch.rand(1, 20 * 60 * 16000) - 0.5, model)
    assert frames.shape[1] == 20 * 60 * 1000 / model.model.hop_ms and torch.isfinite(frames).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_twenty_minutes_fit_into_two_gigabytes():
    done = subprocess.run(
        [sys.executable, "-c", TWENTY_MINUTES, "baseline:logmel", "random:cnn_small"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < 2 * 2**30
