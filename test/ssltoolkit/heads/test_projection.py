"""heads/projection.py against the formula."""

import pytest
import torch

from ssltoolkit.encoders.outputs import pool_scene
from ssltoolkit.errors import ParameterError
from ssltoolkit.heads.projection import Projection


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_clip_head_is_w_tanh_layernorm_of_the_pooled_frames(pool, bias):
    h, head = torch.randn(3, 5, 8), Projection(8, "clip", 4, bias, pool)
    for b in range(3):
        pooled = h[b].max(0).values if pool == "max" else h[b].mean(0)
        normed = (pooled - pooled.mean()) / (pooled.var(correction=0) + 1e-5).sqrt()
        expected = head.linear.weight @ torch.tanh(normed) + (head.linear.bias if bias else 0.0)
        torch.testing.assert_close(head(pool_scene(h, head.pooling))[b], expected)
    assert (head.linear.bias is not None) == bias


def test_frame_head_keeps_every_frame():
    h, head = torch.randn(3, 5, 8), Projection(8, "frame", 1)
    assert head(h).shape == (3, 5, 1)
    torch.testing.assert_close(head(h)[:, 2:3], head(h[:, 2:3]))


def test_range():
    with pytest.raises(ParameterError, match="out_dim"):
        Projection(8, "clip", 0)
    with pytest.raises(ParameterError, match="hidden"):
        Projection(8, "clip", 4, hidden=0)


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_hidden_layer_is_w_relu_batchnorm_v(level):
    h, head = torch.randn(6, 5, 8), Projection(8, level, 4, hidden=7)
    inputs = h.max(1).values if level == "clip" else h.flatten(0, 1)
    z = inputs @ head.hidden.weight.T
    normed = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
    expected = normed.clamp_min(0) @ head.linear.weight.T + head.linear.bias
    assert head.pooling == ("max" if level == "clip" else None)
    found = head(h.max(1).values if level == "clip" else h)
    torch.testing.assert_close(found, expected if level == "clip" else expected.unflatten(0, (6, 5)))


def test_two_poolings_side_by_side():
    h, head = torch.randn(3, 5, 8), Projection(8, "clip", 4, pool="max+mean", hidden=6)
    assert head.hidden.weight.shape == (6, 16) and head(pool_scene(h, head.pooling)).shape == (3, 4)
