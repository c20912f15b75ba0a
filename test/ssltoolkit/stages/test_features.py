"""data/features.py and data/statistics.py: stage 3."""

import filecmp

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from ssltoolkit.data import shards
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.datadir import read_table
from ssltoolkit.data.statistics import Sums, load_statistics
from ssltoolkit.errors import DataError, UserError
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.stages.features import FeatureWriter, merge_features
from ssltoolkit.stages.format import Formatter


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_SIZE", 2)


@pytest.fixture
def folder(format_data, make_waves):
    return format_data("d", make_waves(5, seconds=0.5) + [np.full(50, 0.1)])


def run(folder, out, jobs=1, compression="none", **frontend):
    for job in range(1, jobs + 1):
        FeatureWriter(folder, out, LogMel(**frontend), compression).run_job(job, jobs)
    return merge_features(folder, out)


def direct(folder, frontend):
    archive = WaveArchive(folder)
    waves = [torch.from_numpy(archive.read(k) / np.float32(32768)) for k in range(len(archive))]
    waves = [torch.nn.functional.pad(wave, (0, max(0, frontend.hop_length - len(wave)))) for wave in waves]
    return {utt: frontend(wave[None])[0].numpy() for utt, wave in zip(archive.utt_ids, waves)}


@pytest.mark.parametrize("compression, tolerance", [("none", 0.0), ("speech", 0.1), ("uint16", 1e-3), ("uint8", 0.1)])
def test_features_equal_the_frontend(folder, tmp_path, compression, tolerance):
    run(folder, tmp_path / "out", 2, compression)
    expected = direct(folder, LogMel(normalize="none"))
    stored = kaldiio.load_scp(str(tmp_path / "out/feats.scp"))
    assert sorted(stored) == sorted(expected)
    for utt, features in expected.items():
        np.testing.assert_allclose(stored[utt], features, rtol=0, atol=tolerance)
    assert {utt: int(n) for utt, n in read_table(tmp_path / "out/utt2num_frames").items()} == {
        u: len(f) for u, f in expected.items()
    }


def test_statistics_equal_one_pass_in_any_number_of_jobs(folder, tmp_path):
    frames = np.concatenate(list(direct(folder, LogMel()).values())).astype(np.float64)
    for jobs in (1, 2, 3):
        sums = run(folder, tmp_path / f"nj{jobs}", jobs)
        assert sums.count == len(frames)
        mean, std = load_statistics(tmp_path / f"nj{jobs}/stats.npz", 64)
        np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-5)
        np.testing.assert_allclose(std, frames.std(0), rtol=1e-4)
        names = sorted(path.name for path in (tmp_path / "nj1").glob("*.ark"))
        assert filecmp.cmpfiles(tmp_path / "nj1", tmp_path / f"nj{jobs}", names, shallow=False) == (names, [], [])


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.ark")}


def test_a_second_run_does_nothing(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    before = times(out)
    run(folder, out, 3)
    assert times(out) == before
    run(folder, out, n_mels=32)
    assert all(times(out)[name] != before[name] for name in before)


def test_audio_changed_within_its_length_is_redone(write_data, make_waves, tmp_path):
    data, waves, out = write_data("d", make_waves(4, seconds=0.5)), tmp_path / "waves", tmp_path / "out"

    def both():
        formatter = Formatter(data, waves)
        formatter.run_job(1, 1)
        formatter.finish(0.0)
        return run(waves, out)

    old, before = both(), times(out)
    soundfile.write(data / "audio/utt03.wav", make_waves(1, seconds=0.5, seed=9)[0], 16000)
    new, after = both(), times(out)
    assert not np.allclose(old.total, new.total)
    assert [name for name in sorted(before) if before[name] != after[name]] == ["feats.00002.ark"]


def test_cut_off_between_an_archive_and_its_record(folder, tmp_path, monkeypatch):
    """Output of another configuration is not reused, although it has the same size."""
    first = run(folder, tmp_path / "out")
    wanted = (tmp_path / "out/feats.00001.ark").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards, "write_record", lambda path, record: (_ for _ in ()).throw(KeyboardInterrupt))
        run(folder, tmp_path / "out", input_level=-60.0)
    assert len((tmp_path / "out/feats.00001.ark").read_bytes()) == len(wanted)
    again = run(folder, tmp_path / "out")
    assert (tmp_path / "out/feats.00001.ark").read_bytes() == wanted and (again.total == first.total).all()


def test_unfinished_shards_are_told(folder, tmp_path):
    FeatureWriter(folder, tmp_path / "out", LogMel()).run_job(2, 3)
    with pytest.raises(UserError, match=r"2 of 3 shards are not finished \(first: 1\); run stage 3 again"):
        merge_features(folder, tmp_path / "out")


def test_other_sample_rates_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="waves at 16000 Hz, the frontend expects 8000 Hz"):
        FeatureWriter(folder, tmp_path / "out", LogMel(sample_rate=8000, f_max=3800.0))


def test_output_folders_of_any_name(folder, tmp_path):
    assert run(folder, tmp_path / "a b,c").count == 5 * 50 + 1


def test_merging_in_any_grouping_equals_one_pass():
    rng = np.random.default_rng(0)
    frames = rng.normal(3, 2, (1000, 5))
    whole = Sums.zeros(5)
    whole.add(frames)
    for cuts in ([10, 500], [1, 2, 3], [999]):
        parts = []
        for part in np.split(frames, cuts):
            parts.append(Sums.zeros(5))
            parts[-1].add(part)
        merged = Sums.merged(parts)
        np.testing.assert_allclose(merged.mean_std(), whole.mean_std(), rtol=1e-12)
        assert merged.count == 1000
    np.testing.assert_allclose(whole.mean_std(), [frames.mean(0), frames.std(0)], rtol=1e-10)


def test_statistics_files(tmp_path):
    path = tmp_path / "stats.npz"
    sums = Sums(np.arange(3.0), np.arange(3.0) ** 2 * 2, 4)
    sums.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["stats.npz"]
    assert Sums.load(path).count == 4
    with pytest.raises(DataError, match="4 frames of 3 bands, the frontend has 64"):
        load_statistics(path, 64)
    content = path.read_bytes()
    for damaged in (b"", b"text", content[:100], content[:-30], b"PK\x03\x04" + bytes(50)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="not readable feature statistics"):
            load_statistics(path, 3)
    np.savez(path, other=1)
    with pytest.raises(DataError, match="run stage 3 again"):
        load_statistics(path, 3)
    Sums.zeros(3).save(path)
    with pytest.raises(DataError, match="0 frames"):
        load_statistics(path, 3)
    with pytest.raises(DataError, match="not readable"):
        load_statistics(tmp_path / "none.npz", 3)
