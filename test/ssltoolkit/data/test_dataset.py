"""data/dataset.py: batches depend only on the seed and their number."""

import contextlib

import numpy as np
import pytest
import torch

from ssltoolkit.data import dataset as dataset_module
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import Prefetcher, SegmentDataset
from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import DataError

CUTS = [Cut("anchor"), Cut("positive", "anchor", 0.2)]
SEGMENT = 4000


@pytest.fixture
def folder(format_data, make_waves):
    lengths = [0.1, 0.3, 0.6, 0.6, 1.0, 1.0, 1.3]
    return format_data("d", [make_waves(7, seconds=s)[k] for k, s in enumerate(lengths)])


def dataset(folder, batch_size=3, seed=5, **options):
    return SegmentDataset(WaveArchive(folder), CUTS, batch_size, SEGMENT, 16000, seed, **options)


def same(first, second):
    assert first.utt_ids == second.utt_ids and first.seed == second.seed
    for cut in CUTS:
        assert first.waves[cut].equal(second.waves[cut])
        assert (first.starts[cut] == second.starts[cut]).all()


def test_batch_k_is_the_same_whenever_it_is_made(folder):
    one, other = dataset(folder), dataset(folder)
    forward = [one.batch(k) for k in range(9)]
    for k in (8, 0, 5, 2, 7):
        same(other.batch(k), forward[k])
        same(dataset(folder).batch(k), forward[k])
    different = dataset(folder, seed=6).batch(0)
    assert different.utt_ids != forward[0].utt_ids or not different.waves[CUTS[0]].equal(forward[0].waves[CUTS[0]])


@pytest.mark.parametrize("batch_size, batches", [(1, 7), (2, 3), (3, 2), (7, 1), (50, 1)])
def test_an_epoch_has_no_clip_twice(folder, batch_size, batches):
    data = dataset(folder, batch_size)
    assert data.batches_per_epoch == batches
    orders = []
    for epoch in range(3):
        drawn = np.concatenate([data.indices(epoch * batches + k) for k in range(batches)])
        assert len(set(drawn)) == len(drawn) == batches * min(batch_size, 7)
        orders.append(tuple(drawn))
    assert len(set(orders)) > 1
    left_out = {
        k
        for epoch in range(40)
        for k in set(range(7)) - set(np.concatenate([data.indices(epoch * batches + b) for b in range(batches)]))
    }
    assert left_out == (set() if 7 % min(batch_size, 7) == 0 else set(range(7)))


def test_segments_are_the_audio_at_their_start(folder):
    archive, batch = WaveArchive(folder), dataset(folder).batch(4)
    for cut in CUTS:
        for row, utt in enumerate(batch.utt_ids):
            whole = archive.read(archive.utt_ids.index(utt)).astype(np.float32) / 32768.0
            start = int(round(batch.starts[cut][row] * 16000))
            expected = whole[start : start + SEGMENT] if len(whole) >= SEGMENT else np.resize(whole, SEGMENT)
            np.testing.assert_array_equal(batch.waves[cut][row].numpy(), expected)
    assert (np.abs(batch.starts[CUTS[1]] - batch.starts[CUTS[0]]) <= 0.2).all()


def test_short_clips_repeat_or_fall_silent(folder):
    for policy in ("repeat", "zero"):
        data = dataset(folder, 7, short_clips=policy)
        batch = data.batch(0)
        row = batch.waves[CUTS[0]][batch.utt_ids.index("utt00")]
        assert row[1600:3200].equal(row[:1600]) == (policy == "repeat")
        assert row[1600:].any().item() == (policy == "repeat")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 6, 7, 20])
def test_validation_sees_every_clip_once_and_never_alone(folder, batch_size):
    data = dataset(folder, batch_size)
    first, second = list(data.validation()), list(data.validation())
    assert sorted(utt for batch in first for utt in batch.utt_ids) == data.archive.utt_ids
    assert min(len(batch.utt_ids) for batch in first) >= 2
    for a, b in zip(first, second):
        same(a, b)


def test_validation_and_training_draw_differently(folder):
    data = dataset(folder, 7)
    valid, train = next(iter(data.validation())), data.batch(0)
    assert sorted(valid.starts[CUTS[0]]) != sorted(train.starts[CUTS[0]])


def test_one_clip_cannot_be_contrasted(format_data, make_waves):
    with pytest.raises(DataError, match="1 utterance.*needs at least 2"):
        dataset(format_data("one", make_waves(1)))


def test_prefetcher_gives_the_batches_in_order(folder):
    data = dataset(folder)
    reader = Prefetcher(dataset(folder), 3, depth=2)
    for k in range(3, 12):
        same(reader.next(), data.batch(k))
    reader.close()
    assert not reader._thread.is_alive()


def test_prefetcher_hands_errors_over(folder):
    next(folder.glob("*.ark")).write_bytes(b"damaged")
    reader = Prefetcher(dataset(folder), 0)
    with pytest.raises(DataError, match="run stage 2 again"):
        reader.next()
    reader.close()
    with pytest.raises(DataError, match="the reader of batches died at utterance 'utt0"):
        reader.next(timeout=0.01)


def test_long_clips_are_drawn_from_as_often_as_they_have_units(folder):
    data = dataset(folder, batch_size=1, unit=8000)  # lengths 1600, 4800, 9600, 9600, 16000, 16000, 20800
    wanted = [1, 1, 2, 2, 2, 2, 3]
    epoch = [data.batch(number) for number in range(data.batches_per_epoch)]
    drawn = [batch.utt_ids[0] for batch in epoch]
    assert data.batches_per_epoch == sum(wanted) and [drawn.count(utt) for utt in data.archive.utt_ids] == wanted
    last = data.archive.utt_ids[-1]
    starts = sorted(batch.starts[CUTS[0]][0] * 16000 for batch in epoch if batch.utt_ids[0] == last)
    thirds = 20800 / 3
    assert all(part * thirds - 1 <= start <= (part + 1) * thirds - SEGMENT + 1 for part, start in enumerate(starts))


def test_a_unit_is_not_shorter_than_a_segment(folder):
    data = SegmentDataset(WaveArchive(folder), CUTS, 1, 10000, 16000, 5, unit=8000)  # the longest clip is 20800
    assert [list(data._clip).count(clip) for clip in range(7)] == [1, 1, 1, 1, 1, 1, 2]
    assert all(length >= 10000 for clip, length in zip(data._clip, data._length) if clip > 3)


def test_what_is_repeated_in_a_segment_is_known(folder):
    data = dataset(folder, batch_size=7)
    batch = data.batch(0)
    short = batch.utt_ids.index(data.archive.utt_ids[0])
    assert batch.periods[short] == 0.1 and np.isinf(np.delete(batch.periods, short)).all()
    assert np.isinf(dataset(folder, batch_size=7, short_clips="zero").batch(0).periods).all()


class FakeCuda:
    """Stand-in for the parts of torch.cuda that the upload uses; records the calls."""

    def __init__(self, monkeypatch):
        self.calls = []
        for name, value in (
            ("Stream", lambda device: self),
            ("stream", lambda stream: contextlib.nullcontext()),
            ("current_stream", lambda device: self),
        ):
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda wave, stream: self.calls.append("record"))
        monkeypatch.setattr(dataset_module, "on_device", self.copied)

    def copied(self, wave, device):
        self.calls.append("copy")
        return wave.clone()

    def record_event(self):
        self.calls.append("event")
        return "event"

    def wait_event(self, event):
        assert event == "event"
        self.calls.append("wait")


def test_for_a_gpu_the_reader_copies_ahead_and_the_stream_waits(folder, monkeypatch):
    cuda, data = FakeCuda(monkeypatch), dataset(folder)
    reader = Prefetcher(dataset(folder), 0, depth=2, device=torch.device("cuda", 0))
    for number in range(3):
        same(reader.next(), data.batch(number))
    reader.close()
    assert cuda.calls.count("wait") == 3 and cuda.calls.count("record") == 6
    assert [call for call in cuda.calls if call in ("copy", "event")][:6] == ["copy", "copy", "event"] * 2
    assert cuda.calls.index("event") < cuda.calls.index("wait") < cuda.calls.index("record")


def test_for_a_cpu_nothing_is_copied(folder):
    reader = Prefetcher(dataset(folder), 0, device=torch.device("cpu"))
    same(reader.next(), dataset(folder).batch(0))
    reader.close()
