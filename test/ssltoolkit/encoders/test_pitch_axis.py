"""encoders/pitch_axis.py against plain loops; a transposed sound moves by as many bins."""

import pytest
import torch

from ssltoolkit.encoders.pitch_axis import PitchAxis


@pytest.mark.parametrize("time_stride", [1, 2])
def test_by_the_equations(time_stride):
    torch.manual_seed(0)
    axis, x = PitchAxis(12, 17, channels=3, kernel=5, time_stride=time_stride), torch.randn(2, 7, 12)
    got = axis(x)
    assert got.shape == (2, -(-7 // time_stride), 17)
    kernel, bias = axis.partials.weight, axis.partials.bias
    padded = torch.nn.functional.pad(x, (2, 2, 1, 1))
    for b, t, k in ((0, 0, 0), (1, got.shape[1] - 1, 16), (0, 1, 9)):
        total = 0.0
        for c in range(3):
            for i in range(12):
                patch = padded[b, t * time_stride : t * time_stride + 3, i : i + 5]  # (time, frequency)
                partial = torch.relu((kernel[c, 0] * patch).sum() + bias[c])
                total += axis.weight[c, k - i + 11] * partial
        assert got[b, t, k].item() == pytest.approx(total.item(), abs=1e-5)


def test_the_parts_of_groups_sum_to_one_axis():
    torch.manual_seed(0)
    one, parts = (PitchAxis(12, 17, channels=4, kernel=5, time_stride=2, axes=axes) for axes in (1, 2))
    parts.load_state_dict(one.state_dict())
    x = torch.randn(2, 7, 12)
    got = parts(x).unflatten(2, (2, 17))
    torch.testing.assert_close(got.sum(2), one(x))
    with torch.no_grad():  # without the last two channels, only the first part remains
        one.weight[2:] = 0.0
    torch.testing.assert_close(got[:, :, 0], one(x))
    with pytest.raises(ValueError, match="4 channels cannot be split into 3 equal groups"):
        PitchAxis(12, 17, channels=4, kernel=5, time_stride=2, axes=3)


@pytest.mark.parametrize("shift", [-6, 1, 9])
def test_a_transposed_sound_moves_by_as_many_bins(shift):
    torch.manual_seed(0)
    axis = PitchAxis(60, 80, channels=4, kernel=5, time_stride=1)
    torch.nn.init.zeros_(axis.partials.bias)  # silence then adds nothing
    x = torch.zeros(1, 4, 60)
    x[..., 20:32] = torch.rand(1, 4, 12)
    here, there = axis(x)[0], axis(x.roll(shift, 2))[0]
    kept = slice(max(0, shift), 80 + min(0, shift))
    torch.testing.assert_close(there[:, kept], here.roll(shift, 1)[:, kept], rtol=1e-5, atol=1e-6)
    assert (there - here).abs().max() > 0.1


@pytest.mark.parametrize("bands", [5, 16, 37])
@pytest.mark.parametrize("kernel", [1, 5, 19])
def test_the_convolution_in_blocks_is_that_of_torch(bands, kernel):
    torch.manual_seed(0)
    axis, x = PitchAxis(bands, 20, channels=3, kernel=kernel, time_stride=2), torch.randn(2, 9, bands)
    wanted = axis.partials(x.unsqueeze(1)).permute(0, 2, 3, 1).relu()
    upstream = torch.randn_like(wanted)
    exact = torch.autograd.grad(wanted, (axis.partials.weight, axis.partials.bias), upstream)
    found = axis._partials(axis._blocks(x), 0).view(wanted.shape)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(torch.autograd.grad(found, (axis.partials.weight, axis.partials.bias), upstream), exact):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
