"""embedding/: frames, scenes and times of frozen models, long audio in pieces, and bfloat16."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.sounds import noise

from ssltoolkit.embedding import EncoderModel, encoder_model, frame_total, load_frozen, with_context
from ssltoolkit.encoders.base import Encoder
from ssltoolkit.encoders.outputs import pool_scene
from ssltoolkit.errors import UserError
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.precision import has_bfloat16
from ssltoolkit.settings import EmbeddingSettings
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.training.checkpoint import load_checkpoint

DEFAULT = Path(__file__).parents[2] / "egs/TEMPLATE/ssl1/conf/default.yaml"


def test_a_checkpoint_is_frontend_encoder_and_pooling(checkpoint, tiny_config):
    path = checkpoint("a")
    model, content = load_frozen(path), load_checkpoint(path)
    trained = build_model(content["config"]).eval()
    trained.load_state_dict(content["model"])
    wave = noise(2, 16000)
    with torch.no_grad():
        expected = trained.encoder(trained.frontend(wave))
    frames = model.frames(wave)
    torch.testing.assert_close(frames, expected, rtol=1e-5, atol=1e-5)
    assert frames.dtype == torch.float32 and not frames.requires_grad
    assert model.scenes(wave).equal(pool_scene(frames, "max+mean"))
    assert (model.sample_rate, model.hop_ms, model.frame_dim, model.scene_dim) == (16000, 40.0, 16, 32)
    assert model.identity["model"] == path and len(model.identity["model_hash"]) == 64


@pytest.mark.parametrize("scene, dim", [("max", 16), ("mean", 16), ("max+mean", 32)])
def test_scene_pooling_is_the_configured_one(checkpoint, scene, dim):
    model = load_frozen(checkpoint(scene, f"embedding.scene={scene}"))
    assert model.scene_dim == dim and model.scenes(noise(2, 16000)).shape == (2, dim)


def test_every_output_is_pooled_in_its_own_way_and_may_be_left_out(checkpoint):
    scene = "{pitch_axis: mean, convolutions: max+std, linear: mean}"
    path = checkpoint(
        "outputs",
        "frontend={name: logmel_dual}",
        "encoder={name: cnn_small, width: 4, embed_dim: null}",
        f"embedding.scene={scene}",
    )
    model, wave = load_frozen(path), noise(2, 16000)
    sizes = model.encoder.outputs
    assert (
        list(sizes) == ["convolutions", "context", "linear", "pitch_axis"]
        and sum(sizes.values()) == model.encoder.embed_dim
    )
    convolutions, _, linear, axis = model.frames(wave).split(list(sizes.values()), dim=2)
    expected = torch.cat([convolutions.amax(1), convolutions.std(1, correction=0), linear.mean(1), axis.mean(1)], dim=1)
    assert model.scene_dim == expected.shape[1]
    torch.testing.assert_close(model.scenes(wave), expected, rtol=1e-5, atol=1e-5)
    assert load_frozen(f"random:{path}").scenes(wave).shape == expected.shape


def test_a_pooling_of_others_serves_any_encoder(checkpoint):
    scene = "embedding.scene={others: max+std, context: std, pitch_axis: mean}"
    axis = load_frozen(
        checkpoint(
            "axis", "frontend={name: logmel_dual}", "encoder={name: cnn_small, width: 4, embed_dim: null}", scene
        )
    )
    sizes, wave = axis.encoder.outputs, noise(2, 16000)
    assert axis.scene_dim == 2 * (sizes["convolutions"] + sizes["linear"]) + sizes["context"] + sizes["pitch_axis"]
    whole = load_frozen(checkpoint("whole", "encoder={name: vit, embed_dim: 16, heads: 2, layers: 1}", scene))
    named = load_frozen(
        checkpoint(
            "named", "encoder={name: vit, embed_dim: 16, heads: 2, layers: 1}", "embedding.scene={output: max+std}"
        )
    )
    named.encoder.load_state_dict(whole.encoder.state_dict())
    assert whole.scenes(wave).shape == (2, 32) and named.scenes(wave).equal(whole.scenes(wave))


def test_frozen_stays_frozen(checkpoint):
    model = load_frozen(checkpoint("a"))
    model.train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    "overrides", [[], ["encoder.time_stride=8"], ["encoder.context_blocks=3", "encoder.context_kernel=5"]]
)
@pytest.mark.parametrize("samples", [64000, 63999, 64161, 100000, 48161])
def test_long_audio_in_pieces_equals_one_piece(checkpoint, monkeypatch, overrides, samples):
    model, wave = load_frozen(checkpoint("a", *overrides)), noise(2, samples)
    whole = model.frames(wave)
    for size in (4, 100, 196, 396):
        monkeypatch.setattr(encoder_model, "CHUNK_FRAMES", size)
        torch.testing.assert_close(model.frames(wave), whole, rtol=1e-4, atol=1e-5)


def test_an_encoder_of_whole_segments_sees_segments(checkpoint):
    model = load_frozen(checkpoint("b0", "encoder={name: efficientnet_b0, embed_dim: 8, time_stride: 4}"))
    wave = noise(1, 5 * 15360 // 2)  # two segments and a half
    frames = model.frames(wave)
    assert frames.shape == (1, 60, 8)
    with torch.no_grad():
        mel = model.frontend(wave)
        # The last window ends with the audio.
        for first, wanted in ((0, slice(0, 24)), (96, slice(24, 48)), (144, slice(48, 60))):
            expected = model.encoder(mel[:, first : first + 96])[:, wanted.start - first // 4 :]
            torch.testing.assert_close(frames[:, wanted], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [15360, 100000, 15359])
def test_windows_have_the_same_embeddings_however_many_share_a_pass(checkpoint, monkeypatch, samples):
    model = load_frozen(checkpoint("b0", "encoder={name: efficientnet_b0, embed_dim: 8}"))
    wave = noise(3, samples)
    together = model.frames(wave), model.scenes(wave)
    for size in (1, 200, 10**6):
        monkeypatch.setattr(encoder_model, "WINDOW_FRAMES", size)
        for k in (0, 2):
            for ours, whole in zip((model.frames(wave[k : k + 1]), model.scenes(wave[k : k + 1])), together):
                assert (ours - whole[k : k + 1]).norm() <= 1e-6 * whole.norm()


@pytest.mark.skipif(not has_bfloat16("cpu"), reason="this processor does not compute in bfloat16")
@pytest.mark.parametrize(
    "encoder, bands",
    [
        ("cnn_small", 64), ("cnn_small", 16), ("cnn_small, width: 8", 16), ("cnn_small, width: 12", 32), ("cnn_small, embed_dim: 48", 64),
        ("efficientnet_b0", 64), ("efficientnet_b0, time_stride: 4", 64), ("efficientnet_b0", 16),
        ("audiontt", 64), ("cnn14", 64), ("conformer", 64), ("vit", 64),
    ],
)  # fmt: skip
def test_bfloat16_is_near_float32(checkpoint, encoder, bands):
    """oneDNN had wrong bfloat16 convolutions for some numbers of channels and bands."""
    path = checkpoint("precise", f"encoder={{name: {encoder}}}", f"frontend.n_mels={bands}", "embedding.scene=mean")
    wave, precise, coarse = noise(2, 20000), load_frozen(path), load_frozen(path)
    coarse.use_bfloat16()
    for name in ("frames", "scenes"):
        exact, rounded = getattr(precise, name)(wave), getattr(coarse, name)(wave)
        assert rounded.dtype == torch.float32 and not rounded.equal(exact)
        assert (rounded - exact).norm() < 0.05 * exact.norm()


def test_bfloat16_counts_as_another_model(checkpoint, monkeypatch):
    monkeypatch.setattr(encoder_model, "has_bfloat16", lambda device: True)
    model = load_frozen(checkpoint("a"))
    exact = dict(model.identity)
    model.use_bfloat16()
    model.use_bfloat16()
    assert model.identity == {**exact, "model_hash": f"{exact['model_hash']}-bf16", "precision": "bf16"}
    with pytest.raises(UserError, match="baseline:logmel: it has no encoder"):
        load_frozen("baseline:logmel").use_bfloat16()


def test_bfloat16_is_refused_where_there_is_none(checkpoint, monkeypatch):
    monkeypatch.setattr(encoder_model, "has_bfloat16", lambda device: False)
    with pytest.raises(UserError, match="does not support bfloat16"):
        load_frozen(checkpoint("a")).use_bfloat16()


def test_a_coarse_encoder_gives_frames_of_at_most_50_ms(checkpoint):
    """A delay of one fine hop shifts the frames by one, whatever the hop of the encoder."""
    model = load_frozen(checkpoint("coarse", "encoder.time_stride=8", "encoder.context_blocks=1"))
    assert (model.encoder.stride, model.hop_ms) == (8, 40.0)
    wave = noise(2, 32000)
    early, late = model.frames(wave), model.frames(torch.nn.functional.pad(wave, (640, 0)))
    assert early.shape == (2, 50, 16) and late.shape == (2, 51, 16)
    inner = slice(16, 32)  # other frames depend on the padding at the ends
    torch.testing.assert_close(late[:, 17:33], early[:, inner], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(late[:, inner], early[:, inner], rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # scenes are pooled at the hop of the encoder
        torch.testing.assert_close(
            model.scenes(wave), pool_scene(model.encoder(model.frontend(wave)), "max+mean"), rtol=1e-4, atol=1e-5
        )


class Means(Encoder):
    """The mean of every ``stride`` mel frames."""

    embed_dim, context_frames = 1, 0

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def encode(self, x):
        return x.unflatten(1, (-1, self.stride)).mean((2, 3)).unsqueeze(2)


@pytest.mark.parametrize("stride, hop_ms", [(6, 30.0), (8, 40.0), (10, 50.0), (18, 30.0), (30, 50.0), (7, 10.0)])
def test_frames_of_a_coarse_encoder_are_centred_at_their_times(stride, hop_ms):
    """A click at the centre of a frame changes the frames before and after it equally."""
    model = EncoderModel(LogMel(), Means(stride), EmbeddingSettings(scene="mean"), 0.96, {"model": "means"})
    assert model.hop_ms == hop_ms
    wave = torch.zeros(1, 16000)
    place = 9
    wave[0, int(16 * model.timestamps_ms(20)[place])] = 0.9
    frames = model.frames(wave)[0, :, 0]
    around = frames - frames.min()
    assert around[place] > 0
    for distance in range(1, 6):
        assert around[place - distance].item() == pytest.approx(around[place + distance].item(), abs=1e-4)


@pytest.mark.parametrize("samples", [1, 100, 159, 160, 320, 639, 640, 960, 15360, 17120, 31680, 43840, 64000])
@pytest.mark.parametrize("name", ["cnn", "b0", "baseline"])
def test_any_length_gives_frames_within_it(checkpoint, name, samples):
    if name == "baseline":
        model = load_frozen("baseline:logmel")
    else:
        model = load_frozen(
            checkpoint(name, *(["encoder={name: efficientnet_b0, embed_dim: 8}"] if name == "b0" else []))
        )
    frames = model.frames(noise(2, samples))
    assert frames.shape == (2, frame_total(samples, 16000, model.hop_ms), model.frame_dim)
    assert torch.isfinite(frames).all() and torch.isfinite(model.scenes(noise(2, samples))).all()
    times = model.timestamps_ms(frames.shape[1])
    assert times[0] == model.hop_ms / 2 and (len(times) == 1 or times[-1] <= samples / 16)
    assert (
        times[-1] + model.hop_ms > samples / 16
        or len(times) == 1
        or times[-1] + model.hop_ms == pytest.approx(samples / 16)
    )
    assert torch.isfinite(model.frames(torch.zeros(1, samples))).all()


def test_baseline_is_mean_and_deviation_of_log_mel():
    model, wave = load_frozen("baseline:logmel"), noise(2, 32000)
    mel = model.frontend(wave).double().numpy()
    frames, scenes = model.frames(wave).numpy(), model.scenes(wave).numpy()
    assert (model.hop_ms, model.frame_dim, model.scene_dim) == (40.0, 128, 128)
    for j in (0, 7, 49):
        part = mel[:, 4 * j : 4 * j + 4]
        np.testing.assert_allclose(frames[:, j], np.concatenate([part.mean(1), part.std(1)], 1), atol=1e-4)
    np.testing.assert_allclose(scenes, np.concatenate([mel.mean(1), mel.std(1)], 1), atol=1e-4)


@pytest.mark.parametrize("name", ["cnn", "baseline"])
@pytest.mark.parametrize("samples", [1, 640, 8000, 40000])
def test_the_mean_around_a_frame_is_appended(checkpoint, tiny_yaml, tmp_path, name, samples):
    (tmp_path / "baseline.yaml").write_text(f"include: {tiny_yaml}\nembedding: {{frame_context: 1.0}}\n")
    if name == "baseline":
        with_mean, plain = (
            load_frozen("baseline:logmel", config=path) for path in (tmp_path / "baseline.yaml", tiny_yaml)
        )
    else:
        with_mean, plain = (
            load_frozen(checkpoint("with", "embedding.frame_context=1.0")),
            load_frozen(checkpoint("plain")),
        )
        plain.encoder.load_state_dict(with_mean.encoder.state_dict())
    wave = noise(2, samples)
    frames, wanted = with_mean.frames(wave), plain.frames(wave)
    dim = plain.frame_dim
    assert with_mean.frame_dim == 2 * dim and frames.shape == (*wanted.shape[:2], 2 * dim)
    assert frames[..., :dim].equal(wanted)
    for t in range(wanted.shape[1]):  # 12 frames of 40 ms on either side, fewer at the ends
        torch.testing.assert_close(frames[:, t, dim:], wanted[:, max(0, t - 12) : t + 13].mean(1), rtol=1e-4, atol=1e-5)
    assert with_mean.scene_dim == plain.scene_dim
    torch.testing.assert_close(with_mean.scenes(wave), plain.scenes(wave), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(with_mean.scenes_of(frames), plain.scenes(wave), rtol=1e-6, atol=1e-6)
    if name == "baseline":
        assert with_mean.identity["model_hash"] != plain.identity["model_hash"]


def test_the_mean_of_long_audio_does_not_see_the_seams():
    frames = torch.randn(1, 6100, 3, dtype=torch.float64)
    found = with_context(frames, 0.4, 40.0)
    for t in (0, 2, 2995, 2999, 3000, 3004, 5999, 6000, 6099):
        torch.testing.assert_close(found[:, t, 3:], frames[:, max(0, t - 5) : t + 6].mean(1))
    assert with_context(frames, 0.0, 40.0) is frames
    without = with_context(frames, 0.4, 40.0, [(0, 2)])
    assert without.equal(found[..., :5])


def test_an_axis_of_pitch_has_no_mean_around_a_frame():
    model, wave = load_frozen(f"random:{DEFAULT}"), noise(1, 16000)
    frames, bins = model.frames(wave), model.encoder.outputs["pitch_axis"]
    assert bins == 528 and model.encoder.embed_dim == 896 + bins
    assert model.frame_dim == frames.shape[2] == 896 + bins + 896
    torch.testing.assert_close(frames[:, 12, -896:], frames[:, :25, :896].mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.scenes_of(frames), model.scenes(wave), rtol=1e-5, atol=1e-5)
