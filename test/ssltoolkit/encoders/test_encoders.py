"""Encoders: parameter counts, frames, cost, and independence of the batch."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ssltoolkit.config import load_config
from ssltoolkit.encoders.cnn_small import CnnSmall
from ssltoolkit.encoders.depthwise import DepthwiseConv1d
from ssltoolkit.encoders.efficientnet import EfficientNetB0
from ssltoolkit.encoders.outputs import pool_scene
from ssltoolkit.errors import ParameterError
from ssltoolkit.losses.similarity import Bilinear
from ssltoolkit.model import build_encoder, build_frontend
from ssltoolkit.registry import REGISTRY
from ssltoolkit.stages.pretrain import build_model

TEMPLATE = Path(__file__).resolve().parents[3] / "egs/TEMPLATE/ssl1/conf"
SEGMENT = 96  # frames of 0.96 s


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def multiply_adds(network, x):
    """Count multiply-adds of every convolution and linear layer in one forward pass."""
    total = 0

    def hook(module, inputs, output):
        nonlocal total
        if isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        else:
            total += output.numel() * module.weight[0].numel()

    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    hooks = [module.register_forward_hook(hook) for module in network.modules() if isinstance(module, kinds)]
    network.eval()(x)
    for handle in hooks:
        handle.remove()
    return total / len(x)


def test_parameters_of_the_published_network():
    model = build_model(load_config(TEMPLATE / "paper.yaml"))
    assert count(model.encoder) - count(model.encoder.linear) == 4_004_412
    matrices = [module for module in model.modules() if isinstance(module, Bilinear)]
    assert [count(matrix) for matrix in matrices] == [512 * 512] * 2
    assert count(model) - count(*matrices) == 5_188_669
    heads = {name: count(strategy.head) for name, strategy in model.strategies.items()}
    assert heads == {"clip": 1024 + 512 * 512, "frame": 1024 + 512 * 512 + 512, "pitch": 1024 + 512 + 1}


@pytest.mark.parametrize("stride, frames", [(32, 3), (16, 6), (8, 12), (4, 24)])
def test_efficientnet_frames(stride, frames):
    network = EfficientNetB0(64, time_stride=stride).eval()
    with torch.no_grad():
        assert network(torch.randn(2, SEGMENT, 64)).shape == (2, frames, 512)
        assert network(torch.randn(1, SEGMENT + 1, 64)).shape == (1, frames + 1, 512)
        assert network(torch.randn(1, 1, 64)).shape == (1, 1, 512)
    assert count(network) - count(network.linear) == 4_004_412


def test_efficientnet_has_the_cost_of_its_kind():
    # The published 390 MMAC for 224 x 224 scale with the area: about 1/8 for 96 x 64 and one input channel.
    cost = multiply_adds(EfficientNetB0(64), torch.randn(1, SEGMENT, 64))
    assert 40e6 < cost < 60e6


@pytest.mark.parametrize("stride", [4, 8])
def test_cnn_small_is_small(stride):
    network = CnnSmall(64, time_stride=stride)
    cost = multiply_adds(network, torch.randn(2, SEGMENT, 64))
    assert cost <= 40e6, f"{cost / 1e6:.1f} MMAC"
    assert network.parameter_count() <= 2_000_000
    assert network(torch.randn(2, SEGMENT, 64)).shape == (2, SEGMENT // stride, 512 + 256 + 128)


ENCODERS = [
    {"name": "cnn_small"},
    {"name": "cnn_small", "time_stride": 8, "embed_dim": 512, "context_blocks": 3},
    {"name": "efficientnet_b0"},
    {"name": "efficientnet_b0", "time_stride": 4},
]


def build(spec, bands=64, parts=None):
    encoder = REGISTRY.build("encoder", spec, n_mels=bands, parts=parts)
    for module in encoder.modules():  # as after training: running statistics differ from 0 and 1
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return encoder.eval()


@pytest.mark.parametrize("stride, frames", [(4, 24), (8, 12)])
def test_cnn_small_reads_two_resolutions(stride, frames):
    network = CnnSmall(320, parts=(64, 256), time_stride=stride)
    x = torch.randn(2, SEGMENT, 64)
    fine = torch.randn(2, SEGMENT // 4, 256).repeat_interleave(4, dim=1)
    h = network.eval()(torch.cat([x, fine], dim=2))
    assert h.shape == (2, frames, 896 + 264) and network.embed_dim == 1160 and network.outputs["pitch_axis"] == 264
    assert multiply_adds(network, torch.randn(2, SEGMENT, 320)) <= 60e6
    # Each part of the embedding comes from its own resolution.
    other = network(torch.cat([x, torch.randn_like(fine)], dim=2))
    assert other[..., :896].equal(h[..., :896]) and not other[..., 896:].equal(h[..., 896:])
    assert not network(torch.cat([0 * x, fine], dim=2))[..., :896].equal(h[..., :896])


@torch.no_grad()
def test_only_the_blocks_over_time_see_beyond_the_convolutions():
    network = build({"name": "cnn_small"})
    x = torch.randn(1, 400, 64)
    changed = x.clone()
    changed[:, 240:280] = torch.randn(1, 40, 64)  # 40 frames after output frame 50
    before, after = network(x)[:, 50], network(changed)[:, 50]
    assert after[:, :512].equal(before[:, :512]) and after[:, 768:].equal(before[:, 768:])
    assert not after[:, 512:768].allclose(before[:, 512:768])
    without = build({"name": "cnn_small", "context_blocks": 0})
    assert without.embed_dim == 640 and without.context_frames == 12 and network.context_frames == 12 + 4 * (4 + 8)


@torch.no_grad()
def test_stated_context_of_two_resolutions():
    encoder = build({"name": "cnn_small"}, 320, (64, 256))
    x, changed = torch.randn(1, 400, 320), torch.randn(1, 400, 320)
    whole, reach = encoder(x), encoder.context_frames
    changed[:, 200 - reach : 204 + reach] = x[:, 200 - reach : 204 + reach]
    torch.testing.assert_close(encoder(changed)[:, 50], whole[:, 50], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_an_encoder_of_one_resolution_reads_the_first():
    config = {"frontend": {"name": "logmel_dual"}, "encoder": {"name": "efficientnet_b0", "embed_dim": 16}}
    encoder = build_encoder(config, build_frontend(config)).eval()
    x = torch.randn(2, SEGMENT, 320)
    assert (
        encoder.bands == 64
        and encoder(x).equal(encoder(x[..., :64]))
        and not encoder(x).equal(encoder(x.roll(1, dims=2)))
    )


@pytest.mark.parametrize("spec", ENCODERS, ids=str)
@torch.no_grad()
def test_every_encoder(spec):
    encoder = build(spec)
    assert encoder.embed_dim == (896 if spec == {"name": "cnn_small"} else 512) and SEGMENT % encoder.stride == 0
    x = torch.randn(4, SEGMENT, 64)
    together = encoder(x)
    assert together.shape == (4, SEGMENT // encoder.stride, encoder.embed_dim) and together.dtype == torch.float32
    assert torch.isfinite(together).all() and together.equal(encoder(x))
    for k in range(4):
        torch.testing.assert_close(encoder(x[k : k + 1])[0], together[k], rtol=1e-5, atol=1e-5)
    other = torch.cat([x[:1], 100 * torch.randn(5, SEGMENT, 64)])
    torch.testing.assert_close(encoder(other)[0], together[0], rtol=1e-5, atol=1e-5)
    for bad in (torch.randn(SEGMENT, 64), torch.randn(1, 0, 64), torch.randn(1, 1, SEGMENT, 64)):
        with pytest.raises(ValueError, match="expected features of shape"):
            encoder(bad)


@pytest.mark.parametrize("spec", ENCODERS, ids=str)
def test_every_encoder_learns_everywhere(spec):
    encoder = REGISTRY.build("encoder", spec, n_mels=64).train()
    encoder(torch.randn(4, SEGMENT, 64)).square().mean().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("spec", [spec for spec in ENCODERS if spec["name"] == "cnn_small"], ids=str)
@torch.no_grad()
def test_stated_context_is_what_a_frame_depends_on(spec):
    encoder = build(spec)
    x = torch.randn(1, 800, 64)
    whole, stride, reach = encoder(x), encoder.stride, encoder.context_frames
    middle = 400 // stride
    first, last = middle * stride - reach, (middle + 1) * stride + reach
    changed = torch.randn(1, 800, 64)
    changed[:, first:last] = x[:, first:last]
    torch.testing.assert_close(encoder(changed)[:, middle], whole[:, middle], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bands", [16, 48, 80, 128])
@torch.no_grad()
def test_other_numbers_of_bands(bands):
    for spec in ("cnn_small", "efficientnet_b0"):
        assert build({"name": spec, "embed_dim": 32}, bands)(torch.randn(2, 64, bands)).shape[-1] == 32


def test_drop_path_acts_in_training_only():
    network = EfficientNetB0(64, embed_dim=16, drop_path=0.5)
    x = torch.randn(2, SEGMENT, 64)
    with torch.no_grad():
        network.eval()
        assert network(x).equal(network(x))
        network.train()
        assert not network(x).equal(network(x))


@pytest.mark.parametrize("pooling", ["max", "mean", "max+mean"])
def test_scene_pooling(pooling):
    h = torch.randn(2, 5, 3)
    expected = {"max": h.max(1).values, "mean": h.mean(1)}
    expected["max+mean"] = torch.cat([expected["max"], expected["mean"]], 1)
    assert pool_scene(h, pooling).equal(expected[pooling])


def test_ranges():
    for make in (
        lambda: CnnSmall(8),
        lambda: CnnSmall(64, width=0),
        lambda: CnnSmall(64, context_blocks=-1),
        lambda: CnnSmall(64, pitch_bins=0),
        lambda: CnnSmall(64, pitch_kernel=4),
        lambda: CnnSmall(64, pitch_axes=0),
        lambda: CnnSmall(64, pitch_axes=3),
        lambda: EfficientNetB0(64, embed_dim=0),
        lambda: EfficientNetB0(64, drop_path=1.0),
    ):
        with pytest.raises(ParameterError):
            make()


@pytest.mark.parametrize("kernel, dilation", [(9, 1), (9, 2), (3, 5), (1, 1)])
@pytest.mark.parametrize("frames", [1, 7, 24])
def test_depthwise_over_time_is_that_of_torch(kernel, dilation, frames):
    torch.manual_seed(0)
    conv, x = DepthwiseConv1d(6, kernel, dilation), torch.randn(4, frames, 6, requires_grad=True)
    found = conv(x)
    wanted = torch.nn.functional.conv1d(
        x.transpose(1, 2), conv.weight, None, 1, conv.padding, conv.dilation, 6
    ).transpose(1, 2)
    torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), wanted)
    upstream = torch.randn_like(wanted)
    exact, ours = (torch.autograd.grad(y, (x, conv.weight), upstream) for y in (wanted, found))
    for one, other in zip(ours, exact):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_training_frames_are_those_of_embedding():
    """Depthwise convolutions have a training and an inference form; apart from batch statistics, both give equal
    frames.
    """
    torch.manual_seed(0)
    network, x = CnnSmall(64).eval(), torch.randn(2, 96, 64)
    trained = network(x)
    with torch.no_grad():
        torch.testing.assert_close(network(x), trained, rtol=1e-4, atol=1e-5)


def test_efficientnet_frozen_after_few_steps_is_what_was_trained():
    """After 100 batches the running statistics do not depend on their initial values, and outputs of the frozen network
    differ between inputs.
    """
    torch.manual_seed(0)
    encoder = EfficientNetB0(64, embed_dim=32)
    x = torch.randn(12, 1, 64).cumsum(2) / 4 + torch.randn(12, SEGMENT, 64)
    with torch.no_grad():
        for _ in range(100):
            trained = encoder.train()(x)
        frozen = encoder.eval()(x)
    across = trained.std(dim=0).mean()
    assert frozen.std(dim=0).mean() > 0.5 * across
    assert (frozen - trained).abs().mean() < 0.25 * across


@pytest.mark.parametrize(
    "spec", [{"name": "cnn_small", "pitch_channels": 4, "pitch_axes": 2}, {"name": "audiontt"}, {"name": "vit"}]
)
def test_outputs_are_the_columns_of_the_embedding(spec):
    frontend = build_frontend({"frontend": {"name": "logmel_dual"}})
    encoder = build_encoder({"encoder": spec}, frontend).eval()
    x = torch.randn(4, SEGMENT, frontend.n_mels)
    with torch.no_grad():
        whole, parts = encoder(x), encoder.by_output(x)
        torch.testing.assert_close(torch.cat(list(parts.values()), dim=-1), whole)
        assert {name: part.shape[-1] for name, part in parts.items()} == encoder.named_outputs()
        last, rows = list(parts)[-1], torch.tensor([2, 0])
        few = encoder.by_output(x, {last: rows})
        assert list(few) == [last]
        torch.testing.assert_close(few[last], parts[last][rows])


def test_what_is_not_asked_for_is_not_computed(monkeypatch):
    encoder = CnnSmall(320, parts=(64, 256))
    monkeypatch.setattr(encoder.convs, "forward", lambda x: pytest.fail("the convolutions were computed"))
    assert list(encoder.by_output(torch.randn(2, SEGMENT, 320), {"pitch_axis": None})) == ["pitch_axis"]
