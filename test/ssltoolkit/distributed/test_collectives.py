"""Division of batches among processes: every row once, for any number of processes."""

import numpy as np
import pytest
import torch
from torch import nn

from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import SegmentDataset
from ssltoolkit.data.segments import Cut
from ssltoolkit.distributed import collectives
from ssltoolkit.distributed.collectives import Shard, sharing
from ssltoolkit.distributed.layers import SharedDropout, SyncedBatchNorm, drawn_rows, span_processes


@pytest.fixture
def as_process(monkeypatch):
    """as_process(rank, size): set the rank and the number of processes."""

    def pretend(rank, size):
        monkeypatch.setattr(collectives, "rank", lambda: rank)
        monkeypatch.setattr(collectives, "world_size", lambda: size)

    return pretend


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_shares_are_even_and_complete(as_process, size):
    for total in range(size, 40):
        rows = []
        for rank in range(size):
            as_process(rank, size)
            shard = Shard.of(total)
            rows.append(list(range(shard.first, shard.last)))
        assert sum(rows, []) == list(range(total))
        assert max(map(len, rows)) - min(map(len, rows)) <= 1
    as_process(1, size)
    assert Shard.of(size - 1) is None  # too few clips to share: every process takes them all


def test_processes_read_their_own_clips_and_draw_alike(format_data, make_waves, as_process, monkeypatch):
    archive = WaveArchive(format_data("train", make_waves(11, seconds=1.1)))
    read, seen = WaveArchive.read, []
    monkeypatch.setattr(
        WaveArchive, "read", lambda self, index, *place: seen.append(index) or read(self, index, *place)
    )
    cut = Cut("anchor")
    data = SegmentDataset(archive, [cut], 5, 8000, 16000, seed=3)
    for number in range(4):  # two epochs with different orders
        whole = data.batch(number)
        seen.clear()
        parts = []
        for rank in range(3):
            as_process(rank, 3)
            parts.append(data.batch(number))
        as_process(0, 1)
        assert sorted(seen) == sorted(data.indices(number))
        assert torch.cat([part.waves[cut] for part in parts]).equal(whole.waves[cut])
        for part in parts:
            assert (
                part.utt_ids == whole.utt_ids
                and (part.starts[cut] == whole.starts[cut]).all()
                and part.seed == whole.seed
            )
    assert list(np.concatenate([data.indices(k) for k in (0, 1)])) != list(
        np.concatenate([data.indices(k) for k in (2, 3)])
    )


@pytest.mark.parametrize("views", [1, 3])
def test_random_rows_are_those_of_one_process(views):
    whole = torch.zeros(views * 7, 4, 3)
    torch.manual_seed(5)
    expected = SharedDropout(0.3)(whole + 1).view(views, 7, 4, 3)
    for first, last in ((0, 2), (2, 4), (4, 7)):
        torch.manual_seed(5)
        with sharing(Shard(first, last, 7)):
            got = SharedDropout(0.3)(torch.ones(views * (last - first), 4, 3))
        assert got.view(views, last - first, 4, 3).equal(expected[:, first:last])
    assert drawn_rows(whole, lambda rows: torch.arange(rows)).tolist() == list(range(views * 7))


def test_layers_are_replaced_in_place_and_weights_are_kept():
    network = nn.Sequential(
        nn.Conv1d(2, 3, 1),
        nn.BatchNorm1d(3),
        nn.Dropout(0.1),
        nn.Sequential(nn.BatchNorm2d(4, momentum=None, affine=False)),
        nn.LayerNorm(3),
    )
    state = {key: value.clone() for key, value in network.state_dict().items()}
    weight = network[1].weight
    span_processes(network)
    assert [type(part) for part in network[:3]] == [nn.Conv1d, SyncedBatchNorm, SharedDropout] and type(
        network[3][0]
    ) is SyncedBatchNorm
    assert network[1].weight is weight and network[3][0].momentum is None
    assert network.state_dict().keys() == state.keys()
    x = torch.randn(5, 3, 6)
    alone = nn.BatchNorm1d(3)
    torch.testing.assert_close(network[1](x), alone(x))  # outside a shared batch it is plain batch normalisation


def test_a_lone_process_talks_to_nobody():
    assert collectives.from_main(lambda: 7) == 7 and collectives.all_or_raise(lambda: 8) == 8
    assert collectives.any_process(True, torch.device("cpu")) and not collectives.any_process(
        False, torch.device("cpu")
    )
    with collectives.process_group(torch.device("cpu")):
        assert collectives.is_main() and collectives.world_size() == 1
