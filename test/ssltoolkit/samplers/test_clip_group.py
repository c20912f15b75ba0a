"""samplers/clip_group.py: positives from other utterances of a group, from utt2group to the loss."""

import numpy as np
import pytest
import torch

from ssltoolkit.config import resolve_config
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import SegmentDataset, in_pairs
from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import DataError, ParameterError
from ssltoolkit.losses.contrastive import InfoNCE
from ssltoolkit.losses.similarity import Cosine
from ssltoolkit.samplers.clip import ClipSampler
from ssltoolkit.samplers.clip_group import ClipGroupSampler
from ssltoolkit.stages.pretrain import pretrain
from ssltoolkit.transforms.views import FrameGrid, RenderedView

CUTS = [Cut("anchor"), Cut("positive", "anchor", 0.1)]
#: groups of utterances: 0 and 3, 1 and 4, 2, 5 and 8; 6 and 7 alone; 9 to 11 without a group
TABLE = "".join(f"utt{k:02d} g{k % 3}\n" for k in range(6)) + "utt06 solo\nutt07 other\nutt08 g2\n"


def compare(groups, **options):
    sampler = ClipGroupSampler(**options)
    views = {role: RenderedView(view, np.zeros(len(groups)), {}) for role, view in sampler.views.items()}
    return sampler.compare(views, FrameGrid(len(groups), 24, 40.0, np.array(groups)), np.random.default_rng(0))


def test_clips_of_a_group_are_positives_of_each_other():
    pairs = compare([4, -1, 4, -1, 7], group_weight=0.5)
    wanted = torch.eye(5)
    wanted[0, 2] = wanted[2, 0] = 0.5  # -1 means no group
    assert (pairs.rows, pairs.columns, pairs.within) == ("anchor", "positive", "batch")
    assert pairs.target[0].equal(wanted) and pairs.allowed is None


def test_without_groups_as_clip_sampling():
    sampler, plain = ClipGroupSampler(max_offset=0.3), ClipSampler(max_offset=0.3)
    assert sampler.views == plain.views
    views = {role: RenderedView(view, np.zeros(3), {}) for role, view in sampler.views.items()}
    rows, columns = torch.randn(3, 8), torch.randn(3, 8)
    outputs, loss = {"anchor": rows, "positive": columns}, InfoNCE(Cosine(0.2), symmetric=True)
    found, wanted = (
        loss(outputs, one.compare(views, FrameGrid(3, 24, 40.0), np.random.default_rng(0))) for one in (sampler, plain)
    )
    torch.testing.assert_close(found.loss, wanted.loss)


def test_loss_of_a_group_by_hand():
    pairs = compare([0, 0, -1])
    rows, columns = torch.nn.functional.normalize(torch.randn(2, 3, 8), dim=-1)
    scores = (rows @ columns.T / 0.2).double()
    each = torch.logsumexp(scores, 1) - torch.stack([scores[0, :2].mean(), scores[1, :2].mean(), scores[2, 2]])
    found = InfoNCE(Cosine(0.2))({"anchor": rows, "positive": columns}, pairs)
    torch.testing.assert_close(found.loss.double(), each.mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_weight_above_0(weight):
    with pytest.raises(ParameterError, match="group_weight"):
        ClipGroupSampler(group_weight=weight)


def test_pairs_lie_side_by_side():
    rng = np.random.default_rng(3)
    groups = rng.integers(-1, 40, 200)
    order = rng.permutation(200)
    found = in_pairs(order, groups)
    assert sorted(found) == list(range(200))
    beside = 0
    for group in range(40):
        places = np.flatnonzero(groups[found] == group)
        beside += int((np.diff(places) == 1)[::2].sum())
        assert (np.diff(places)[::2] == 1).all(), group
    assert beside > 60
    alone = in_pairs(order, np.full(200, -1))
    assert alone.tolist() == order.tolist()


@pytest.fixture
def folder(format_data, make_waves):
    return format_data("train", make_waves(12), utt2group=TABLE)


def dataset(folder, batch_size=4):
    archive = WaveArchive(folder)
    archive.read_groups()
    return SegmentDataset(archive, CUTS, batch_size, 4000, 16000, 5)


def test_batches_have_groups(folder):
    data, again = dataset(folder), dataset(folder)
    together = 0
    for number in range(30):
        batch = data.batch(number)
        names = {utt: line.split()[1] for utt, line in zip(data.archive.utt_ids, TABLE.splitlines())}
        for one, first in zip(batch.utt_ids, batch.groups):
            for other, second in zip(batch.utt_ids, batch.groups):
                same = one == other or (one in names and names.get(other) == names[one])
                assert (first == second and first >= 0) == (same and one in names), (one, other)
        together += len({group for group in batch.groups if (batch.groups == group).sum() > 1 and group >= 0})
        assert again.batch(number).utt_ids == batch.utt_ids
    assert together >= 20  # of 3 groups in 10 epochs; batch boundaries separate some. Without grouping about 8


def test_groups_without_a_pair_are_enough_for_validation(folder):
    (folder / "utt2group").write_text("utt00 a\nutt01 b\n")
    archive = WaveArchive(folder)
    archive.read_groups(needed=False)
    assert archive.groups[:3].tolist() == [0, 1, -1]


def test_what_is_wrong_with_groups(format_data, make_waves, folder):
    (folder / "utt2group").write_text("utt00\n")
    with pytest.raises(DataError, match=r"utt2group:1: expected 'id value'"):
        dataset(folder)
    (folder / "utt2group").write_text("utt00 a\nutt01 b\n")
    with pytest.raises(DataError, match="no group has two of the 12 utterances"):
        dataset(folder)
    (folder / "utt2group").unlink()
    with pytest.raises(DataError, match="utt2group: no such file; .* or use the sampler 'clip'"):
        dataset(folder)


def test_groups_tell_one_corpus_from_another(folder):
    plain, first = WaveArchive(folder), dataset(folder).archive
    (folder / "utt2group").write_text(TABLE.replace("utt06 solo", "utt06 g0"))
    assert len({plain.contents(), first.contents(), dataset(folder).archive.contents()}) == 3


@pytest.mark.parametrize("cached", [False, True])
def test_a_run(folder, format_data, make_waves, tmp_path, cached):
    config = resolve_config({
        "frontend": {"name": "logmel", "n_mels": 64},
        "encoder": {"name": "cnn_small"},
        "strategies": {
            "clip": {
                "sampler": {"name": "clip_group"},
                "head": {"name": "projection", "out_dim": 8},
                "loss": {"name": "info_nce", "similarity": {"name": "cosine"}, "symmetric": True},
            }
        },
        "optimizer": {"name": "adam"},
        "training": {
            "batch_size": 4, "accumulate": 2, "cached_batch": cached, "max_steps": 4, "log_interval": 2,
            "device": "cpu", "precision": "fp32", "segment_seconds": 0.3,
        },
    })  # fmt: skip
    valid = format_data("valid", make_waves(4))  # validation needs no utt2group
    (tmp_path / "exp").mkdir()
    pretrain(config, tmp_path / "exp", folder, valid)
    assert (tmp_path / "exp/last.pt").is_file()
