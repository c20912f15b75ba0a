"""Compiled kernels against plain torch, forward and gradient, in one and in two threads."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ssltoolkit.jit import jit
from ssltoolkit.kernels.batch_norm import batch_norm_act
from ssltoolkit.kernels.contrast import two_way_logsumexp
from ssltoolkit.kernels.depthwise import depthwise
from ssltoolkit.kernels.numbers import as_array, exp, narrowed, widened
from ssltoolkit.kernels.rectifier import rectified
from ssltoolkit.layers import BatchNormAct

ACTIVATIONS = {"identity": lambda z: z, "relu": torch.relu, "silu": nn.functional.silu}


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@jit()
def _exponentials(x, y):
    for i in range(len(x)):
        y[i] = exp(x[i])


@jit()
def _round_trip(x, y, z):
    for i in range(len(x)):
        y[i] = widened(x[i])
        z[i] = narrowed(y[i] * np.float32(1.001), z)


def test_exponential():
    x = np.concatenate([np.linspace(-90, 88, 10001), [-1e30, -np.inf, 0.0]]).astype(np.float32)
    y = np.empty_like(x)
    _exponentials(x, y)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(y - exact)[x >= -87].max() >= 0 and (np.abs(y - exact)[x >= -87] <= 3e-7 * exact[x >= -87]).all()
    assert (y[x < -87] == 0).all()


def test_bfloat16_is_read_and_rounded_as_torch_does():
    x = torch.cat([torch.randn(1000), torch.tensor([0.0, -0.0, 1e-40, 3e38, -3e38])]).bfloat16()
    y, z = torch.empty(len(x)), torch.empty_like(x)
    _round_trip(as_array(x), as_array(y), as_array(z))
    assert y.equal(x.float()) and z.equal((x.float() * np.float32(1.001)).bfloat16())


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(4096, 16), (7, 5), (6, 24, 9, 11), (5, 32, 13), (2, 600, 3)])
def test_batch_norm_and_activation(activation, dtype, tolerance, shape, threads):
    torch.manual_seed(0)
    x = (3 * torch.randn(shape) + 5).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x
    weight, bias = torch.rand(shape[1]) + 0.5, torch.randn(shape[1])
    upstream = torch.randn(shape).to(dtype)
    ours = [part.clone().requires_grad_() for part in (x, weight, bias)]
    y, mean, variance = batch_norm_act(*ours, 1e-3, activation)
    y.backward(upstream)
    exact = [part.double().requires_grad_() for part in (x, weight, bias)]
    wanted = ACTIVATIONS[activation](
        nn.functional.batch_norm(exact[0], None, None, exact[1], exact[2], True, 0.0, 1e-3)
    )
    wanted.backward(upstream.double())
    assert y.dtype == dtype and (len(shape) == 3 or y.stride() == x.stride())
    torch.testing.assert_close(y.double(), wanted, rtol=tolerance, atol=tolerance)
    axes = [0, *range(2, len(shape))]
    torch.testing.assert_close(mean, x.double().mean(axes).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(variance, x.double().var(axes, correction=0).float(), rtol=1e-4, atol=1e-5)
    for one, other in zip(ours, exact):
        torch.testing.assert_close(
            one.grad.double(), other.grad, rtol=tolerance, atol=tolerance * float(other.grad.abs().max())
        )


def test_batch_norm_does_not_depend_on_threads():
    torch.manual_seed(0)
    x, found = torch.randn(5000, 24), []
    for number in (1, 2):
        torch.set_num_threads(number)
        given = [x.clone().requires_grad_(), torch.ones(24, requires_grad=True), torch.zeros(24, requires_grad=True)]
        y, *_ = batch_norm_act(*given, 1e-5, "silu")
        y.square().sum().backward()
        found.append([y, *(part.grad for part in given)])
    torch.set_num_threads(1)
    assert all(one.equal(other) for one, other in zip(*found))


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_the_layer_is_torchs_two(activation):
    torch.manual_seed(0)
    layer, plain = BatchNormAct(6, activation), nn.BatchNorm1d(6)
    assert list(layer.state_dict()) == list(plain.state_dict())
    for _ in range(3):
        x = torch.randn(8, 6, 7)
        torch.testing.assert_close(layer(x), ACTIVATIONS[activation](plain(x)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.state_dict(), plain.state_dict(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer.eval()(x), ACTIVATIONS[activation](plain.eval()(x)), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected \(B, 6, ...\), got \(8, 5\)"):
        layer(torch.randn(8, 5))


def plain_logsumexps(scores, allowed, first):
    place = first[:, None] + torch.arange(allowed.shape[1])
    own = scores.gather(1, place)
    hidden = scores.scatter(1, place, own.masked_fill(~allowed, -math.inf))
    return hidden.logsumexp(1), hidden.logsumexp(0), own, hidden.amax(1)


@pytest.mark.parametrize(
    "rows, columns, width, scale", [(150, 333, 7, 3.0), (64, 64, 1, 20.0), (3, 5, 5, 1.0), (1, 1, 1, 1.0)]
)
def test_logsumexp_along_both_dimensions(rows, columns, width, scale, threads):
    torch.manual_seed(0)
    scores = (scale * torch.randn(rows, columns)).requires_grad_()
    first, allowed = torch.randint(0, columns - width + 1, (rows,)), torch.rand(rows, width) > 0.3
    allowed[0] = True
    kept = scores.detach().clone()
    found = two_way_logsumexp(scores, allowed, first)
    assert scores.detach().equal(kept)
    exact = kept.double().requires_grad_()
    wanted = plain_logsumexps(exact, allowed, first)
    for one, other in zip(found, wanted):
        finite = other.isfinite()
        assert one.isfinite().equal(finite) or one is found[3]
        torch.testing.assert_close(one[finite].double(), other[finite], rtol=1e-5, atol=1e-5)
    upstream = [torch.randn_like(part) * part.isfinite() for part in found[:3]]
    gradient = torch.autograd.grad(found[:3], scores, upstream)[0]
    expected = torch.autograd.grad(
        [torch.where(part.isfinite(), part, 0.0) for part in wanted[:3]], exact, [part.double() for part in upstream]
    )[0]
    torch.testing.assert_close(gradient.double(), expected.nan_to_num(0.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_shows(bad):
    """Kernels must propagate non-finite values: a step is skipped if its loss is not finite."""
    scores = torch.randn(40, 50)
    scores[2, 7] = bad
    by_row, by_column, _, _ = two_way_logsumexp(scores, torch.ones(40, 1, dtype=torch.bool), torch.arange(40))
    assert not by_row[2].isfinite() and not by_column[7].isfinite()
    assert by_row[[0, 1, 3]].isfinite().all() and by_column[[6, 8]].isfinite().all()
    x = torch.randn(64, 4)
    x[3, 1] = bad
    for activation in ACTIVATIONS:
        y = batch_norm_act(x, torch.ones(4), torch.zeros(4), 1e-5, activation)[0]
        assert y[:, 1].isnan().any() and y[:, [0, 2, 3]].isfinite().all()


def test_rectifier():
    x = torch.randn(40, 9).bfloat16().requires_grad_()
    y = rectified(x * 1)
    y.backward(torch.arange(360.0).view(40, 9).bfloat16())
    assert y.equal(x.relu()) and x.grad.equal(torch.where(x > 0, torch.arange(360.0).view(40, 9).bfloat16(), 0.0))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_depthwise(dtype, tolerance, threads):
    torch.manual_seed(0)
    x, weight = torch.randn(20, 11, 6).to(dtype), torch.randn(6, 1, 5)
    ours = [part.clone().requires_grad_() for part in (x, weight)]
    y = depthwise(*ours, dilation=2)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    exact = [part.double().requires_grad_() for part in (x, weight)]
    wanted = nn.functional.conv1d(exact[0].transpose(1, 2), exact[1], None, 1, 4, 2, 6).transpose(1, 2)
    wanted.backward(upstream.double())
    torch.testing.assert_close(y.double(), wanted, rtol=tolerance, atol=tolerance)
    for one, other in zip(ours, exact):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=tolerance, atol=10 * tolerance)


def test_shapes_that_do_not_go_together_are_refused():
    """Compiled code checks no bounds, so shapes are checked before."""
    with pytest.raises(ValueError, match="do not match"):
        depthwise(torch.randn(4, 6, 1), torch.randn(6, 1, 9))
    with pytest.raises(ValueError, match="do not match"):
        batch_norm_act(torch.randn(4, 6), torch.ones(5), torch.zeros(5), 1e-5, "relu")
    with pytest.raises(ValueError, match="do not match"):
        two_way_logsumexp(torch.randn(3, 4), torch.ones(3, 2, dtype=torch.bool), torch.tensor([0, 1, 3]))
