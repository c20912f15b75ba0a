"""heads/pitch_axis.py: the encoder's pitch axis, or a projection."""

from pathlib import Path

import pytest
import torch

from ssltoolkit.config import load_config
from ssltoolkit.errors import ParameterError
from ssltoolkit.heads.pitch_axis import PitchAxisHead
from ssltoolkit.model import SSLModel

DEFAULT = Path(__file__).parents[3] / "egs/TEMPLATE/ssl1/conf/default.yaml"


def test_the_encoders_own_columns_are_taken_as_they_are():
    outputs = {"other": 12, "pitch_axis": 8}
    h, head = torch.randn(3, 5, 20), PitchAxisHead(20, "frame", outputs, {})
    assert head(h).equal(h[..., 12:]) and head.out_dim == 8 and not list(head.parameters())
    torch.testing.assert_close(PitchAxisHead(20, "clip", outputs, {})(h), h[..., 12:].mean(1))

    parts = PitchAxisHead(20, "frame", outputs, {"pitch_axis": 2})
    torch.testing.assert_close(parts(h), h[..., 12:16] + h[..., 16:])
    assert parts.out_dim == 4


def test_another_encoders_frames_are_projected():
    h = torch.randn(3, 5, 20)
    assert PitchAxisHead(20, "frame", {"output": 20}, {}, bins=9)(h).shape == (3, 5, 9)
    assert PitchAxisHead(20, "clip", {"output": 20}, {}, bins=9)(h).shape == (3, 9)
    with pytest.raises(ParameterError, match="bins"):
        PitchAxisHead(20, "frame", {"output": 20}, {}, bins=0)


@pytest.mark.parametrize("encoder, own", [("cnn_small", True), ("audiontt", False)])
def test_the_default_trains_either(encoder, own):
    model = SSLModel(load_config(DEFAULT, [f"encoder.name={encoder}"]))
    head = model.strategies["pitch"].head
    assert model.strategies["pitch"].reads == (["pitch_axis"] if own else ["convolutions", "linear"])
    assert (head.projection is None) == own and head.out_dim == 264
