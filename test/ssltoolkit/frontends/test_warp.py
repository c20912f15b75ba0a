"""frontends/warp.py: the sparse product equals the dense one, for every band, ratio and position of the frame."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.frontends.logmel_dual import DualLogMel
from ssltoolkit.frontends.logmel_slaney import SlaneyLogMel
from ssltoolkit.frontends.warp import warped_mel

FRONTENDS = {
    "coarse": LogMel(),
    "fine": DualLogMel().fine,
    "up to half the rate": LogMel(n_mels=80, f_min=0.0, f_max=8000.0),
    "bands without a bin": LogMel(n_fft=512, win_length=400, n_mels=256),
    "slaney": SlaneyLogMel(),
}
#: no change, four semitones down and up, an octave down and up, extreme ratios
RATIOS = [1.0, 0.7937, 1.26, 0.5, 2.0, 0.01, 30.0]


@pytest.fixture
def fresh():
    """A random generator with a new seed, which is shown if the test fails."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")
    return torch.Generator().manual_seed(seed)


def dense(frontend, power, ratio):
    """The product with whole filter banks, in double precision."""
    bank = frontend._triangles(frontend._warped(ratio)).double()
    mel = torch.bmm(power.double(), bank)
    return mel * frontend.height if hasattr(frontend, "height") else mel


@pytest.mark.parametrize("frames", [1, 3, 4, 97])
@pytest.mark.parametrize("name", FRONTENDS)
def test_equals_the_dense_product(fresh, name, frames):
    frontend = FRONTENDS[name]
    ratio = torch.cat([torch.tensor(RATIOS), torch.exp2(torch.rand(5, generator=fresh) - 0.5)])
    power = torch.randn(len(ratio), frames, len(frontend.bins), generator=fresh).square() * torch.logspace(
        3, -9, len(frontend.bins)
    )
    torch.testing.assert_close(
        frontend.mel(power, ratio).double(), dense(frontend, power, ratio), rtol=1e-5, atol=1e-30
    )


def test_gradients_are_those_of_the_dense_product(fresh):
    frontend, ratio = LogMel(n_mels=20), torch.tensor([0.8, 1.3])
    power = torch.rand(2, 5, 257, generator=fresh).requires_grad_()
    upstream = torch.rand(2, 5, 20, generator=fresh)
    frontend.mel(power, ratio).backward(upstream)
    bank = frontend._triangles(frontend._warped(ratio))
    torch.testing.assert_close(power.grad, torch.bmm(upstream, bank.transpose(1, 2)))
    with torch.no_grad():
        torch.testing.assert_close(frontend.mel(power, ratio), frontend.mel(power.detach(), ratio))
    with torch.inference_mode():
        torch.testing.assert_close(frontend.mel(power, ratio), frontend.mel(power.detach(), ratio))


def test_a_frame_has_the_same_numbers_wherever_it_stands(fresh):
    frontend, ratio = DualLogMel().fine, torch.tensor([0.9, 1.1])
    power = torch.rand(2, 23, 2049, generator=fresh)
    whole = frontend.mel(power, ratio)
    for first in range(7):
        assert frontend.mel(power[:, first:], ratio).equal(whole[:, first:])
        assert frontend.mel(power[1:, first : first + 1], ratio[1:]).equal(whole[1:, first : first + 1])


def test_the_same_from_any_thread_and_for_any_number_of_threads(fresh):
    frontend, ratio = LogMel(), torch.exp2(torch.rand(16, generator=fresh) - 0.5)
    power = torch.rand(16, 24, 257, generator=fresh)
    wanted, threads = frontend.mel(power, ratio), torch.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        assert all(found.equal(wanted) for found in pool.map(lambda _: frontend.mel(power, ratio), range(16)))
    try:
        torch.set_num_threads(2)
        assert frontend.mel(power, ratio).equal(wanted)
    finally:
        torch.set_num_threads(threads)


def test_a_spectrogram_that_does_not_lie_in_one_piece(fresh):
    frontend, ratio = LogMel(), torch.tensor([0.9, 1.1])
    power = torch.rand(257, 6, 2, generator=fresh).permute(2, 1, 0)
    assert frontend.mel(power, ratio).equal(frontend.mel(power.contiguous(), ratio))


def test_a_ratio_that_is_not_a_number_shows(fresh):
    mel = LogMel().mel(torch.rand(2, 5, 257, generator=fresh), torch.tensor([float("nan"), 1.0]))
    assert mel[0].isnan().all() and mel[1].isfinite().all()


def test_shapes_that_do_not_go_together_are_refused():
    power, bins, edges = (np.ones(shape, np.float32) for shape in ((2, 5, 257), (257,), (2, 3, 64)))
    for wrong in ((power, bins[1:], edges), (power, bins, edges[:1]), (power, bins, edges[:, :2])):
        with pytest.raises(ValueError, match="do not match"):
            warped_mel(*wrong)
