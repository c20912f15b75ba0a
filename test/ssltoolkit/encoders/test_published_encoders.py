"""audiontt, cnn14, vit and conformer: key names, sizes, frames, context, and independence of the batch."""

import sys

import pytest
import torch
from torch import nn

from ssltoolkit.encoders.audiontt import AudioNTT
from ssltoolkit.encoders.cnn14 import Cnn14
from ssltoolkit.encoders.vit import sinusoids
from ssltoolkit.errors import ConfigError, ParameterError, UserError
from ssltoolkit.registry import REGISTRY

SEGMENT = 96
#: small encoders, specified as in YAML; stride in mel frames; embedding size
SMALL = [
    ({"name": "audiontt", "channels": 4, "hidden_dim": 16, "embed_dim": 96}, 4, 96),
    ({"name": "audiontt", "channels": 4, "hidden_dim": 16, "embed_dim": 96, "layers": 3}, 8, 96),
    ({"name": "cnn14", "width": 2, "embed_dim": 24}, 32, 24),
    ({"name": "cnn14", "width": 2, "embed_dim": 24, "time_stride": 8}, 8, 24),
    ({"name": "cnn14", "width": 2, "embed_dim": 24, "time_stride": 4}, 4, 24),
    ({"name": "vit", "embed_dim": 32, "layers": 2}, 4, 32),
    ({"name": "vit", "embed_dim": 32, "layers": 2, "patch_frames": 2}, 2, 32),
    ({"name": "conformer", "embed_dim": 32, "layers": 2, "ffn_dim": 32, "kernel": 7, "channels": 4}, 4, 32),
    ({"name": "conformer", "embed_dim": 32, "layers": 1, "time_stride": 8, "channels": 4}, 8, 32),
]
specs = pytest.mark.parametrize(
    "spec, stride, dim", SMALL, ids=[f"{spec['name']}-{stride}" for spec, stride, _ in SMALL]
)


def build(spec, bands=64):
    if spec["name"] == "conformer":
        pytest.importorskip("torchaudio", exc_type=ImportError)
    encoder = REGISTRY.build("encoder", spec, n_mels=bands)
    for module in encoder.modules():  # as after training: running statistics differ from 0 and 1
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return encoder.eval()


@specs
@torch.no_grad()
def test_frames_do_not_depend_on_the_batch(spec, stride, dim):
    encoder = build(spec)
    assert (encoder.stride, encoder.embed_dim) == (stride, dim)
    x = torch.randn(4, SEGMENT, 64)
    together = encoder(x)
    assert (
        together.shape == (4, SEGMENT // stride, dim) and torch.isfinite(together).all() and together.equal(encoder(x))
    )
    assert together.std(dim=(0, 1)).max() > 1e-4
    for k in range(4):
        torch.testing.assert_close(encoder(x[k : k + 1])[0], together[k], rtol=1e-5, atol=1e-5)
    other = torch.cat([x[:1], 100 * torch.randn(5, SEGMENT, 64)])
    torch.testing.assert_close(encoder(other)[0], together[0], rtol=1e-5, atol=1e-5)


@specs
@torch.no_grad()
def test_any_length_works(spec, stride, dim):
    encoder = build(spec)
    for frames in (1, encoder.min_frames, stride + 1, 97, 200):
        x = torch.randn(1, frames, 64)
        h = encoder(x)
        assert h.shape == (1, -(-frames // stride), dim) and torch.isfinite(h).all()
        # The last frame is filled up with the padding value.
        filled = nn.functional.pad(x, (0, 0, 0, -frames % stride), value=encoder.pad_value)
        torch.testing.assert_close(encoder(filled), h, rtol=1e-5, atol=1e-5)
    encoder.pad_value = 3.0
    x = torch.randn(1, stride + 1, 64)
    torch.testing.assert_close(
        encoder(x), encoder(nn.functional.pad(x, (0, 0, 0, stride - 1), value=3.0)), rtol=1e-5, atol=1e-5
    )


@specs
def test_every_weight_learns(spec, stride, dim):
    encoder = build(spec).train()
    encoder(torch.randn(4, SEGMENT, 64)).square().mean().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@specs
@torch.no_grad()
def test_stated_context(spec, stride, dim):
    encoder, frames = build(spec), 1024
    x = torch.randn(1, frames, 64)
    middle, reach = frames // 2 // stride, encoder.context_frames
    first, last = middle * stride, (middle + 1) * stride
    if reach is None:
        x[:, :32] = torch.randn(1, 32, 64)
        whole = encoder(x)
        x[:, :32] += 1.0
        assert (encoder(x)[:, middle] - whole[:, middle]).abs().max() > 1e-7  # depends on the whole input, as declared
        return
    whole = encoder(x)
    changed = 10 * torch.randn(1, frames, 64)
    changed[:, first - reach : last + reach] = x[:, first - reach : last + reach]
    torch.testing.assert_close(encoder(changed)[:, middle], whole[:, middle], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "spec, stride, dim", [small for small in SMALL if small[0]["name"] in ("audiontt", "cnn14")], ids=str
)
@torch.no_grad()
def test_long_audio_in_chunks_is_the_same(spec, stride, dim):
    encoder = build(spec)
    x, margin = torch.randn(1, 640, 64), -(-encoder.context_frames // stride) * stride
    part = encoder(x[:, 320 - margin : 416 + margin])[:, margin // stride :][:, : 96 // stride]
    torch.testing.assert_close(part, encoder(x)[:, 320 // stride : 416 // stride], rtol=1e-5, atol=1e-5)


COUNTS = [
    ("audiontt", 6_333_376, 3072),
    ("cnn14", 79_673_792, 2048),
    ("vit", 1_829_184, 192),
    ("conformer", 1_533_664, 144),
]


@pytest.mark.parametrize("name, count, dim", COUNTS)
def test_parameter_counts(name, count, dim):
    if name == "conformer":
        pytest.importorskip("torchaudio", exc_type=ImportError)
    with torch.device("meta"):
        encoder = REGISTRY.build("encoder", name, n_mels=64)
    assert encoder.parameter_count() == count and encoder.embed_dim == dim
    assert f"{count / 1e6:.1f} million parameters" in REGISTRY.component("encoder", name).doc


def keys_and_shapes(encoder):
    return {key: tuple(value.shape) for key, value in encoder.state_dict().items()}


def norm_keys(name, channels):
    return {f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": ()
    }


def test_audiontt_has_the_released_keys():
    expected = {
        "features.0.weight": (64, 1, 3, 3),
        "features.0.bias": (64,),
        "features.4.weight": (64, 64, 3, 3),
        "features.4.bias": (64,),
    }
    expected.update({**norm_keys("features.1", 64), **norm_keys("features.5", 64)})
    expected.update(
        {"fc.0.weight": (2048, 1024), "fc.0.bias": (2048,), "fc.3.weight": (2048, 2048), "fc.3.bias": (2048,)}
    )
    assert keys_and_shapes(AudioNTT(64)) == expected


def test_cnn14_has_the_released_keys():
    expected = norm_keys("bn0", 64)
    for index, channels in enumerate((64, 128, 256, 512, 1024, 2048)):
        block, inputs = f"conv_block{index + 1}", 1 if index == 0 else channels // 2
        expected.update(
            {f"{block}.conv1.weight": (channels, inputs, 3, 3), f"{block}.conv2.weight": (channels, channels, 3, 3)}
        )
        expected.update({**norm_keys(f"{block}.bn1", channels), **norm_keys(f"{block}.bn2", channels)})
    expected.update({"fc1.weight": (2048, 2048), "fc1.bias": (2048,)})
    for stride in (32, 8):
        with torch.device("meta"):
            assert keys_and_shapes(Cnn14(64, time_stride=stride)) == expected


@torch.no_grad()
def test_audiontt_step_by_step():
    encoder = build(SMALL[0][0])
    x = torch.randn(2, 16, 64)
    y = x.transpose(1, 2)[:, None]  # the published network takes (batch, 1, band, time)
    for index in (0, 4):
        y = encoder.features[index + 1](encoder.features[index](y)).clamp_min(0)
        y = y.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    rows = torch.stack([torch.cat([y[b, :, band, t] for band in range(16)]) for b in range(2) for t in range(4)])
    linear = (encoder.fc[3](encoder.fc[0](rows).clamp_min(0))).clamp_min(0)
    torch.testing.assert_close(encoder(x).flatten(0, 1), torch.cat([rows, linear], 1), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_cnn14_step_by_step():
    encoder = build(SMALL[2][0])
    x = torch.randn(2, 160, 64)
    norm = encoder.bn0
    y = ((x - norm.running_mean) / (norm.running_var + norm.eps).sqrt())[:, None]
    for index in range(6):
        block = getattr(encoder, f"conv_block{index + 1}")
        y = block.bn2(block.conv2(block.bn1(block.conv1(y)).relu())).relu()
        if index < 5:
            y = y.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    y = y.mean(3)
    for t in range(5):
        near = y[:, :, max(0, t - 1) : t + 2]
        pooled = near.amax(2) + near.sum(2) / 3
        torch.testing.assert_close(encoder(x)[:, t], encoder.fc1(pooled).relu(), rtol=1e-5, atol=1e-5)


def test_sinusoids():
    table = sinusoids(7, 6, torch.device("cpu"))
    for position in range(7):
        for i in range(3):
            angle = torch.tensor(position / 10000 ** (2 * i / 6))
            assert table[position, 2 * i].item() == pytest.approx(angle.sin().item(), abs=1e-6)
            assert table[position, 2 * i + 1].item() == pytest.approx(angle.cos().item(), abs=1e-6)


@torch.no_grad()
def test_vit_knows_the_order_of_frames_and_its_layers_differ():
    encoder = build(SMALL[5][0])
    x = torch.randn(1, 8, 64)
    swapped = torch.cat([x[:, 4:], x[:, :4]], 1)
    assert (encoder(swapped).flip(1) - encoder(x)).abs().max() > 1e-3
    first, second = (layer.linear1.weight for layer in encoder.layers.layers)
    assert not first.equal(second)


def test_conformer_without_torchaudio_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio.models", None)
    with pytest.raises(UserError, match="'conformer' needs torchaudio .*tools/setup.sh"):
        REGISTRY.build("encoder", "conformer", n_mels=64)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "audiontt", "embed_dim": 1024}, {"name": "audiontt", "channels": 0}, {"name": "audiontt", "layers": 6}, {"name": "audiontt", "dropout": 1.0},
        {"name": "audiontt", "hidden_dim": 0}, {"name": "cnn14", "embed_dim": 0}, {"name": "cnn14", "width": 0}, {"name": "cnn14", "time_stride": 5},
        {"name": "cnn14", "dropout": -0.1}, {"name": "vit", "embed_dim": 30}, {"name": "vit", "embed_dim": 33, "heads": 3}, {"name": "vit", "layers": 0},
        {"name": "vit", "heads": 0}, {"name": "vit", "patch_frames": 0}, {"name": "vit", "ffn_ratio": 0}, {"name": "conformer", "embed_dim": 30},
        {"name": "conformer", "kernel": 8}, {"name": "conformer", "layers": 0}, {"name": "conformer", "heads": 0}, {"name": "conformer", "channels": 0},
        {"name": "conformer", "time_stride": 2}, {"name": "conformer", "ffn_dim": 0},
    ],
    ids=lambda spec: f"{spec['name']}-{list(spec)[1]}",
)  # fmt: skip
def test_ranges(spec):
    with pytest.raises(ConfigError, match=f"encoder.{list(spec)[1]}"):
        REGISTRY.build("encoder", spec, n_mels=64)


def test_too_few_bands():
    for make in (lambda: AudioNTT(3), lambda: Cnn14(31)):
        with pytest.raises(ParameterError, match="n_mels"):
            make()
