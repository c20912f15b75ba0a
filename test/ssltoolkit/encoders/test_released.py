"""Released weights: files with the published key names load, others are refused by name, and no code in a file runs."""

import os

import numpy as np
import pytest
import torch

from ssltoolkit.embedding import load_frozen
from ssltoolkit.encoders.audiontt import AudioNTT
from ssltoolkit.encoders.cnn14 import Cnn14
from ssltoolkit.encoders.cnn_small import CnnSmall
from ssltoolkit.encoders.released import load_released
from ssltoolkit.errors import UserError
from ssltoolkit.frontends.logmel_slaney import SlaneyLogMel


def trained(encoder):
    for buffer in encoder.buffers():
        buffer.copy_(torch.full_like(buffer, 7) if buffer.dtype == torch.int64 else 0.5 + torch.rand_like(buffer))
    return encoder.eval()


@pytest.fixture
def ntt(tmp_path):
    """A file with the key names of BYOL-A and fewer channels, and the encoder with its weights."""
    encoder = trained(AudioNTT(64, embed_dim=100, channels=4, hidden_dim=20))
    torch.save(encoder.state_dict(), tmp_path / "AudioNTT2022-BYOLA-64x96d100.pth")
    return tmp_path / "AudioNTT2022-BYOLA-64x96d100.pth", encoder


@pytest.fixture
def panns(tmp_path):
    """A file with the layout of PANNs: the whole published network, and the state of its sampler with NumPy arrays."""
    encoder = trained(Cnn14(64, embed_dim=40, width=2))
    state = dict(encoder.state_dict())
    state["spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(257, 1, 512)
    state["spectrogram_extractor.stft.conv_imag.weight"] = torch.zeros(257, 1, 512)
    state["logmel_extractor.melW"] = torch.zeros(257, 64)
    state.update({"fc_audioset.weight": torch.zeros(527, 40), "fc_audioset.bias": torch.zeros(527)})
    sampler = {"indexes": np.arange(5), "classes_set": [1, 2], "pointers_of_classes": [0], "queue": []}
    torch.save({"iteration": 3, "model": state, "sampler": sampler}, tmp_path / "Cnn14_16k.pth")
    return tmp_path / "Cnn14_16k.pth", encoder


def same_weights(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    return all(torch.equal(a.state_dict()[key], value) for key, value in b.state_dict().items())


@pytest.mark.parametrize(
    "prefix, key", [("", None), ("module.", "state_dict"), ("model.", "state_dict"), ("module.model.", "model")]
)
def test_audiontt(ntt, tmp_path, prefix, key):
    path, encoder = ntt
    state = {prefix + name: value for name, value in encoder.state_dict().items()}
    torch.save({key: state} if key else state, path)
    loaded = AudioNTT(64, embed_dim=100, channels=4, hidden_dim=20)
    load_released(loaded, path)
    assert same_weights(loaded, encoder)


def test_cnn14_leaves_out_classifier_and_filters_only(panns):
    path, encoder = panns
    loaded = Cnn14(64, embed_dim=40, width=2, time_stride=8)  # the stride has no weights
    load_released(loaded, path)
    assert same_weights(loaded, encoder)


def refused(encoder, path):
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_released(encoder, path)
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())  # unchanged
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_another_architecture_is_refused_by_its_keys(ntt, panns):
    text = refused(CnnSmall(64, width=4, embed_dim=16), ntt[0])
    assert "than 'cnn_small'" in text and "missing: context.0.0.weight, " in text
    assert "unknown: fc.0.bias, fc.0.weight, fc.3.bias, fc.3.weight and " in text
    text = refused(AudioNTT(64, embed_dim=100, channels=4, hidden_dim=20), panns[0])
    assert "bn0.bias" in text and "fc.0.bias" in text
    text = refused(AudioNTT(64, embed_dim=101, channels=4, hidden_dim=20), ntt[0])
    assert (
        "different shape: fc.3.weight 36x20 instead of 37x20, fc.3.bias 36 instead of 37" in text
        and "missing" not in text
    )


def test_a_key_less_or_more_is_refused(ntt):
    path, encoder = ntt
    state = encoder.state_dict()
    torch.save({key: value for key, value in state.items() if key != "features.1.running_mean"}, path)
    assert "missing: features.1.running_mean" in refused(AudioNTT(64, 100, 4, 20), path)
    torch.save({**state, "predictor.0.weight": torch.zeros(2)}, path)
    assert "unknown: predictor.0.weight" in refused(AudioNTT(64, 100, 4, 20), path)


class Runs:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_files_that_are_no_weights(ntt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder = AudioNTT(64, 100, 4, 20)
    assert "no such weight file" in refused(encoder, tmp_path / "none.pth")
    for content in (b"", b"not a weight file", ntt[0].read_bytes()[:-2000]):
        (tmp_path / "damaged.pth").write_bytes(content)
        assert "not a readable weight file" in refused(encoder, tmp_path / "damaged.pth")
    torch.save({"model": ntt[1].state_dict(), "extra": Runs()}, tmp_path / "evil.pth")
    assert "not a readable weight file" in refused(encoder, tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()
    for content in ({}, {"model": {}}, [1, 2], {"a": 1}):
        torch.save(content, tmp_path / "other.pth")
        assert "no named tensors" in refused(encoder, tmp_path / "other.pth")


def tone(seconds=2.3):
    time = torch.arange(int(16000 * seconds)) / 16000
    return 0.3 * torch.sin(2 * torch.pi * 440 * time)[None] + 0.01 * torch.randn(1, len(time))


@torch.no_grad()
def test_frozen_audiontt(ntt):
    path, encoder = ntt
    model = load_frozen(f"released:audiontt:{path}")
    frontend = model.frontend
    assert isinstance(frontend, SlaneyLogMel) and (frontend.n_fft, frontend.win_length, frontend.hop_length) == (
        1024,
        1024,
        160,
    )
    assert (
        model.hop_ms == 40.0
        and (model.frame_dim, model.scene_dim) == (100, 200)
        and same_weights(model.encoder, encoder)
    )
    wave = tone()
    # The published recipe: (log(mel + eps) - mean) / std of librosa's mel power.
    mel = frontend.mel(frontend.power(wave))
    expected = encoder(((mel + torch.finfo(torch.float32).eps).log() + 9.660292) / 4.7219563)
    frames = model.frames(wave)
    torch.testing.assert_close(frames[:, :50], expected[:, :50], rtol=1e-4, atol=1e-4)
    assert frames.shape[1] == 58 and model.scenes(wave).shape == (1, 200)
    assert model.identity["model"].endswith(path.name) and len(model.identity["model_hash"]) == 64


@torch.no_grad()
def test_frozen_cnn14(panns):
    path, encoder = panns
    model = load_frozen(f"released:cnn14:{path}")
    frontend = model.frontend
    assert (frontend.n_fft, frontend.win_length, frontend.hop_length, frontend.n_mels) == (512, 512, 160, 64)
    assert model.encoder.stride == 32 and model.hop_ms == 40.0 and same_weights(model.encoder, encoder)
    assert model.encoder.pad_value == pytest.approx(-100.0)  # silence, in dB
    wave = tone(3.2)
    expected = encoder(10 * torch.log10(frontend.mel(frontend.power(wave)).clamp_min(1e-10)))
    torch.testing.assert_close(model.scenes(wave)[:, :40], expected.amax(1), rtol=1e-4, atol=1e-4)
    # Silence after the end changes no frame, even if it fills part of the last one.
    odd = wave[:, :40000]
    longer = torch.nn.functional.pad(odd, (0, 16000))
    torch.testing.assert_close(model.frames(odd)[:, :50], model.frames(longer)[:, :50], rtol=1e-3, atol=1e-3)


def test_frozen_errors(ntt, panns):
    for name in ("released:vit:x.pth", "released:audiontt", "released:audiontt:", "released:"):
        with pytest.raises(UserError, match="expected released:<encoder>:<weight file> .*audiontt, cnn14"):
            load_frozen(name)
    with pytest.raises(UserError, match="another architecture than 'cnn14'.*missing: bn0.bias"):
        load_frozen(f"released:cnn14:{ntt[0]}")
    with pytest.raises(UserError, match="another architecture than 'audiontt'"):
        load_frozen(f"released:audiontt:{panns[0]}")
    with pytest.raises(UserError, match="no such weight file"):
        load_frozen("released:cnn14:none.pth")
