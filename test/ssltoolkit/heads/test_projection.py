"""heads/projection.py against the formula."""

import pytest
import torch

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
        torch.testing.assert_close(head(h)[b], expected)
    assert (head.linear.bias is not None) == bias


def test_frame_head_keeps_every_frame():
    h, head = torch.randn(3, 5, 8), Projection(8, "frame", 1)
    assert head(h).shape == (3, 5, 1)
    torch.testing.assert_close(head(h)[:, 2:3], head(h[:, 2:3]))


def test_range():
    with pytest.raises(ParameterError, match="out_dim"):
        Projection(8, "clip", 0)
