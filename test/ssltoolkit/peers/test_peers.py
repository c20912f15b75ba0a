"""peers/: a peer is a frozen model with our frame times; installed peers find the right note."""

import importlib.util

import numpy as np
import pytest
import torch

from ssltoolkit.embedding import load_frozen
from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.store import EmbeddingStore
from ssltoolkit.export.formats import write_pt
from ssltoolkit.peers import PEERS, base, load_peer
from ssltoolkit.peers.base import Peer, PeerInfo, on_grid
from ssltoolkit.peers.notes import heard_note, score_notes
from ssltoolkit.stages.embed import embed_directory

MODULES = {
    "pesto": "pesto",
    "swift-f0": "swift_f0",
    "crepe": "torchcrepe",
    "crepe-tiny": "torchcrepe",
    "basic-pitch": "basic_pitch",
    "speech-embedding": "livekit",
}


class Loudness(Peer):
    """Mean square every 10 ms, and a constant pitch of 220 Hz."""

    def activations(self, wave):
        count = max(1, len(wave) // 160)
        rows = np.array([[np.mean(wave[160 * k : 160 * (k + 1)] ** 2), k] for k in range(count)], np.float32)
        return rows, (np.arange(count) + 0.5) / 100

    def f0(self, wave):
        rows, times = self.activations(wave)
        return times, np.full(len(times), 220.0), rows[:, 0]


@pytest.fixture
def loudness(monkeypatch):
    monkeypatch.setitem(PEERS, "loudness", PeerInfo("speech:Loudness", "numpy", "none", "nothing"))
    monkeypatch.setattr("ssltoolkit.peers.speech.Loudness", Loudness, raising=False)
    return load_frozen("peer:loudness")


def test_a_peer_is_a_frozen_model(loudness, format_data, make_waves, tmp_path):
    wave = 0.1 * torch.randn(2, 16000)
    frames = loudness.frames(wave)
    assert frames.shape == (2, 25, loudness.frame_dim) and loudness.hop_ms == 40.0
    np.testing.assert_allclose(frames[:, :, 1].numpy(), np.tile(4 * np.arange(25) + 1.5, (2, 1)))
    assert loudness.scenes(wave).equal(torch.cat([frames.amax(1), frames.mean(1)], 1)) and loudness.scene_dim == 4
    assert loudness.frames(torch.zeros(1, 10)).shape == (1, 1, 2)
    data = format_data("data", make_waves(3), utt2pitch="utt00 57\nutt01 57\nutt02 69\n")
    embed_directory(loudness, data, tmp_path / "out", "frame")
    assert EmbeddingStore(tmp_path / "out").meta["model"] == "peer:loudness"
    found = score_notes(loudness, data)
    assert found["pitch_acc"] == pytest.approx(2 / 3) and found["chroma_acc"] == 1.0 and found["notes"] == 3
    with pytest.raises(UserError, match="only models with a frontend"):
        loudness.save_pretrained(tmp_path / "folder")
    with pytest.raises(UserError, match="only models with a frontend"):
        write_pt(loudness, tmp_path / "a.pt")


def test_the_grid():
    rows, times = np.arange(10, dtype=np.float32)[:, None], np.arange(10) * 0.01 + 0.005
    np.testing.assert_allclose(on_grid(rows, times, 3, 0.04)[:, 0], [1.5, 5.5, 8.5])
    coarse = on_grid(np.array([[0.0], [1.0]], np.float32), np.array([0.02, 0.1]), 4, 0.04)
    np.testing.assert_allclose(coarse[:, 0], [0.0, 0.5, 1.0, 1.0])
    assert on_grid(np.ones((1, 2), np.float32), np.zeros(1), 3, 0.04).tolist() == [[1, 1]] * 3


def test_the_note_that_is_heard():
    assert heard_note(np.array([440.0, 441, 100, np.nan]), np.array([0.9, 0.8, 0.1, 1.0])) == 69
    assert heard_note(np.zeros(3), np.ones(3)) == -1


def test_names(monkeypatch):
    with pytest.raises(UserError, match="peer:none: no such peer; there are pesto"):
        load_frozen("peer:none")
    monkeypatch.setitem(PEERS, "other", PeerInfo("pitch:Pesto", "no-such-package", "", ""))
    monkeypatch.setattr(
        base.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError("No module named 'x'"))
    )
    with pytest.raises(UserError, match=r"peer:other: needs no-such-package .* pip install 'ssltoolkit\[peers\]'"):
        load_peer("other")


@pytest.mark.parametrize("name", MODULES)
def test_installed_peers_hear_notes(name):
    if importlib.util.find_spec(MODULES[name]) is None:
        pytest.skip(f"needs {PEERS[name].package}")
    peer, time = load_frozen(f"peer:{name}"), np.arange(16000) / 16000
    assert peer.frames(torch.zeros(1, 300)).shape == (1, 1, peer.frame_dim)
    for midi in (45, 57, 69):
        hz = 440 * 2 ** ((midi - 69) / 12)
        wave = (0.2 * sum(np.sin(2 * np.pi * k * hz * time) / k for k in range(1, 6))).astype(np.float32)
        frames = peer.frames(torch.from_numpy(wave)[None])
        assert frames.shape == (1, 25, peer.frame_dim) and torch.isfinite(frames).all() and frames.std(1).max() > 0
        found = peer.f0(wave)
        assert found is None if name == "speech-embedding" else heard_note(found[1], found[2]) == midi
