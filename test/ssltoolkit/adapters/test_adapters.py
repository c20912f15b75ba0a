"""adapters/: the documented model interface of each suite; tools/adapters_validate.py runs the real packages."""

import types

import numpy as np
import pytest
import torch

from ssltoolkit.adapters.common import at_rate, waves_of
from ssltoolkit.adapters.evar import AudioRepr
from ssltoolkit.adapters.s3prl import UpstreamExpert
from ssltoolkit.adapters.xares import SSLToolkitEncoder
from ssltoolkit.embedding import load_frozen


@pytest.fixture(scope="module")
def model():
    return load_frozen("baseline:logmel")


def noise(*shape):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_xares(model):
    encoder, wave = SSLToolkitEncoder(model), noise(2, 50000)
    found = encoder(wave)
    assert (
        type(encoder).__name__.endswith("Encoder") and encoder.sampling_rate == 16000 and encoder.hop_size_in_ms == 40.0
    )
    assert found.shape == (2, 78, encoder.output_dim) and found.equal(model.frames(wave))
    assert encoder(wave[0]).shape == (1, 78, encoder.output_dim)
    torch.nn.Linear(encoder.output_dim, 2)(found).sum().backward()  # a head can be trained on it
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_xares_model_by_name():
    class MyEncoder(SSLToolkitEncoder):
        model_name = "baseline:logmel"

    assert MyEncoder().output_dim == 128


def test_s3prl(model):
    upstream, waves = UpstreamExpert(model), [noise(16000), noise(23000)]
    found = upstream(waves)["hidden_states"]
    assert upstream.get_downsample_rates("hidden_states") == 640 and len(found) == 1 and found[0].shape == (2, 36, 128)
    # Frames of a wave do not depend on its padding.
    assert found[0][0, :25].equal(model.frames(waves[0][None])[0]) and not found[0][0, 25:].any()


def test_evar(model):
    for cfg in ("baseline:logmel", types.SimpleNamespace(weight_file="baseline:logmel", sample_rate=16000)):
        encoder, wave = AudioRepr(cfg), noise(3, 32000)
        assert encoder.precompute("cpu", None) is None
        assert encoder(wave).equal(model.scenes(wave)) and encoder.encode_frames(wave).equal(
            model.frames(wave).transpose(1, 2)
        )
    other = AudioRepr(types.SimpleNamespace(weight_file="baseline:logmel", sample_rate=32000))
    assert other.encode_frames(noise(2, 64000)).shape == (2, 128, 50)


def test_audio_as_suites_have_it(model):
    assert waves_of(torch.full((2, 1, 5), 2**14, dtype=torch.int16), model).allclose(torch.full((2, 5), 0.5), atol=1e-3)
    assert waves_of(torch.zeros(2, 0), model).shape == (2, 1)
    with pytest.raises(ValueError, match="shape"):
        waves_of(torch.zeros(1, 1, 1, 1), model)
    assert len(at_rate(np.zeros((2, 44100)), 44100, model)) == len(at_rate(np.zeros(44100), 44100, model)) == 16000


def test_mteb(model):
    pytest.importorskip("mteb", reason="needs mteb")
    from ssltoolkit.adapters.mteb import encoder

    rows = [
        {"audio": {"array": noise(samples).numpy(), "sampling_rate": rate}}
        for samples, rate in ((16000, 16000), (30000, 44100))
    ]
    found = encoder(model).encode(
        torch.utils.data.DataLoader(
            rows, batch_size=2, collate_fn=lambda batch: {"audio": [row["audio"] for row in batch]}
        )
    )
    assert found.shape == (2, 128)
    np.testing.assert_allclose(found[0], model.scenes(noise(16000)[None])[0], rtol=1e-5)


def test_mteb_missing(monkeypatch, model):
    import sys

    from ssltoolkit.adapters.mteb import encoder
    from ssltoolkit.errors import UserError

    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.setitem(sys.modules, "mteb.models", None)
    with pytest.raises(UserError, match="mteb 2.8 or later is needed"):
        encoder(model)
