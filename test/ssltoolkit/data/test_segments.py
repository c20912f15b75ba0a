"""data/segments.py: positions of the cuts in a clip."""

import numpy as np
import pytest

from ssltoolkit.data.segments import Cut, draw_starts
from ssltoolkit.errors import ParameterError

SEGMENT, RATE = 15360, 16000
LENGTHS = np.array([1, 15359, 15360, 15361, 20000, 80000, 80000])


def draw(cuts, seed=0, lengths=LENGTHS):
    return draw_starts(cuts, lengths, SEGMENT, RATE, np.random.default_rng(seed))


def test_starts_lie_in_the_clip_and_reach_both_ends():
    cut = Cut("anchor")
    starts = np.stack([draw([cut], seed)[cut] for seed in range(3000)])
    assert (starts >= 0).all() and (starts[:, :3] == 0).all()
    assert set(starts[:, 3]) == {0, 1}
    assert starts.max(0).tolist()[3:5] == [1, 4640]
    assert starts[:, 5].min() < 100 and starts[:, 5].max() > 80000 - SEGMENT - 100
    assert (starts[:, 5] != starts[:, 6]).mean() > 0.99  # clips of one batch are drawn independently


def test_near_cuts_stay_near_and_differ():
    anchor, near = Cut("anchor"), Cut("positive", "anchor", 0.25)
    for seed in range(200):
        starts = draw([near, anchor], seed)
        distance = np.abs(starts[near] - starts[anchor])
        assert distance.max() <= 4000 and starts[near].min() >= 0
        assert (starts[near] <= np.maximum(LENGTHS - SEGMENT, 0)).all()
    reached = np.concatenate(
        [draw([near, anchor], s)[near][5:] - draw([near, anchor], s)[anchor][5:] for s in range(500)]
    )
    assert reached.min() < -3500 and reached.max() > 3500


def test_same_seed_same_cuts_in_any_order():
    cuts = [Cut("positive", "anchor", 0.25), Cut("b"), Cut("anchor")]
    first, second = draw(cuts, 3), draw(cuts[::-1], 3)
    assert all((first[cut] == second[cut]).all() for cut in cuts)
    assert any((first[cut] != draw(cuts, 4)[cut]).any() for cut in cuts)


def test_errors():
    with pytest.raises(ValueError, match="'near' lies near 'anchor', which no view uses"):
        draw([Cut("near", "anchor", 0.1)])
    with pytest.raises(ParameterError, match="max_offset must lie in"):
        Cut("near", "anchor", -0.1)
