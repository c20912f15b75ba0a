"""stages/format.py: stage 2."""

import filecmp
import shutil

import numpy as np
import pytest
import soundfile

from ssltoolkit.data import shards
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.datadir import DataDir, read_table
from ssltoolkit.errors import DataError, UserError
from ssltoolkit.evaluation.store import EmbeddingStore
from ssltoolkit.stages import format as stage
from ssltoolkit.stages.format import FormatOptions, Formatter, format_audio


def run(data, out, jobs=1, max_bad=0.0, rate=16000):
    for job in range(1, jobs + 1):
        Formatter(data, out, rate).run_job(job, jobs)
    return Formatter(data, out, rate).finish(max_bad)


def written(folder):
    """name -> (content, modification time) of every archive."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.glob("*.ark"))}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_SIZE", 2)


def test_waves_come_back(write_data, make_waves, tmp_path):
    waves = make_waves(5)
    assert run(write_data("d", waves), tmp_path / "out") == 5
    archive = WaveArchive(tmp_path / "out")
    for index, wave in enumerate(waves):
        stored, _ = soundfile.read(tmp_path / f"d/audio/utt{index:02d}.wav", dtype="int16")
        np.testing.assert_array_equal(archive.read(index), stored)
        assert np.abs(stored / 32768.0 - wave).max() < 1e-4
    assert read_table(tmp_path / "out/utt2dur")["utt00"] == "1.300000"
    assert (tmp_path / "out/bad_utts.txt").read_text() == ""


def test_other_rates_are_resampled(write_data, make_waves, tmp_path):
    data = write_data("d", make_waves(2, rate=44100), rate=44100, extension="flac")
    run(data, tmp_path / "out")
    archive = WaveArchive(tmp_path / "out")
    assert np.abs(archive.num_samples - 1.3 * 16000).max() <= 1
    reference = make_waves(1)[0]
    spectra = [np.abs(np.fft.rfft(x[:16000])) for x in (archive.read(0) / 32768.0, reference)]
    assert abs(int(spectra[0][:2000].argmax()) - int(spectra[1][:2000].argmax())) <= 1


def test_same_bytes_for_any_number_of_jobs(write_data, make_waves, tmp_path):
    data = write_data("d", make_waves(7, seconds=0.3))
    for jobs in (1, 2, 3, 9):
        run(data, tmp_path / "out", jobs)
        (tmp_path / "out").rename(tmp_path / f"nj{jobs}")
    names = [path.name for path in (tmp_path / "nj1").glob("*.ark")] + ["utt2num_samples", "utt2dur", "bad_utts.txt"]
    assert len(names) == 4 + 3
    for jobs in (2, 3, 9):
        assert filecmp.cmpfiles(tmp_path / "nj1", tmp_path / f"nj{jobs}", names, shallow=False) == (names, [], [])
        assert (tmp_path / "nj1/wav.scp").read_text() == (tmp_path / f"nj{jobs}/wav.scp").read_text()


def test_a_second_run_writes_nothing_and_changed_audio_is_redone(write_data, make_waves, tmp_path):
    data, out = write_data("d", make_waves(6, seconds=0.3)), tmp_path / "out"
    run(data, out, 2)
    before = written(out)
    run(data, out, 3)
    assert written(out) == before
    soundfile.write(data / "audio/utt02.wav", np.zeros(4000), 16000)
    run(data, out)
    after = written(out)
    assert [name for name in before if before[name] != after[name]] == ["wav.00002.ark"]
    assert read_table(out / "utt2num_samples")["utt02"] == "4000"
    (out / "wav.00003.ark").write_bytes(b"")
    run(data, out)
    assert written(out)["wav.00003.ark"][0] == before["wav.00003.ark"][0]


def test_a_killed_job_is_finished_by_the_next_run(write_data, make_waves, tmp_path, monkeypatch):
    data, out = write_data("d", make_waves(6, seconds=0.3)), tmp_path / "out"
    append, calls = stage.append_to_ark, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return append(*arguments)

    monkeypatch.setattr(stage, "append_to_ark", dying)
    with pytest.raises(KeyboardInterrupt):
        run(data, out)
    with pytest.raises(UserError, match="2 of 3 shards are not finished"):
        Formatter(data, out).finish(0.0)
    monkeypatch.setattr(stage, "append_to_ark", append)
    run(data, out)
    run(data, tmp_path / "fresh")
    assert [c for c, _ in written(out).values()] == [c for c, _ in written(tmp_path / "fresh").values()]


def test_broken_files_are_listed_with_the_reason(write_data, make_waves, tmp_path, capsys):
    data, out = write_data("d", make_waves(6, seconds=0.3)), tmp_path / "out"
    (data / "audio/utt01.wav").write_bytes(b"garbage")
    (data / "audio/utt03.wav").unlink()
    assert run(data, out, 2, max_bad=0.4) == 4
    bad = dict(line.split("\t") for line in (out / "bad_utts.txt").read_text().splitlines())
    assert list(bad) == ["utt01", "utt03"]
    assert "cannot be read as audio" in bad["utt01"] and "no such file" in bad["utt03"]
    assert "2 of 6 utterances cannot be used" in capsys.readouterr().out
    assert list(read_table(out / "wav.scp")) == ["utt00", "utt02", "utt04", "utt05"]
    shutil.copy(data / "audio/utt00.wav", data / "audio/utt03.wav")
    assert run(data, out, max_bad=0.0) == 5  # one unusable utterance is always allowed
    with pytest.raises(DataError, match="unusable"):
        (data / "audio/utt03.wav").write_bytes(b"")
        run(data, out, max_bad=0.0)


@pytest.mark.parametrize(
    "bad, total, max_bad, tolerated",
    [
        (1, 1, 1.0, False),
        (1, 2, 0.0, True),
        (2, 100, 0.01, False),
        (2, 200, 0.01, True),
        (3, 200, 0.01, False),
        (5, 5, 1.0, False),
        (0, 3, 0.0, True),
    ],
)
def test_max_bad(tmp_path, bad, total, max_bad, tolerated):
    reasons = {f"u{k}": "why" for k in range(bad)}
    if tolerated:
        shards.check_bad(tmp_path, reasons, total, max_bad)
    else:
        with pytest.raises(DataError, match=r"bad_utts.txt: .*first: u0: why.*--max_bad"):
            shards.check_bad(tmp_path, reasons, total, max_bad)
    assert (tmp_path / "bad_utts.txt").read_text().count("\twhy\n") == bad


def test_tables_are_filtered_to_what_is_usable(write_data, make_waves, tmp_path):
    tables = {
        "utt2label": "".join(f"utt{k:02d} l{k}\n" for k in range(4)),
        "utt2spk": "".join(f"utt{k:02d} s\n" for k in range(4)),
        "utt2pitch": "".join(f"utt{k:02d} {60 + k}\n" for k in range(4)),
        "events.tsv": "utt_id\tonset\toffset\tlabel\nutt01\t0.1\t0.2\tx\nutt02\t0.0001\t0.1234\ty\n",
    }
    data, out = write_data("d", make_waves(4, seconds=0.3), **tables), tmp_path / "out"
    (data / "audio/utt01.wav").write_bytes(b"")
    run(data, out)
    directory = DataDir(out)
    assert directory.labels() == {"utt00": ["l0"], "utt02": ["l2"], "utt03": ["l3"]}
    assert directory.pitches() == {"utt00": 60, "utt02": 62, "utt03": 63}
    events = directory.events()
    assert "utt01" not in events and events["utt00"] == []
    assert events["utt02"] == [(0.0001, 0.1234, "y")]
    assert set(read_table(out / "utt2spk")) == set(directory.utt_ids)


def test_tables_that_no_longer_exist_are_removed(write_data, make_waves, tmp_path):
    tables = {"utt2label": "utt00 a\n", "utt2fold": "utt00 1\n", "events.tsv": "utt_id\tonset\toffset\tlabel\n"}
    data, out = write_data("d", make_waves(2, seconds=0.3), **tables), tmp_path / "out"
    run(data, out)
    assert all((out / name).is_file() for name in tables)
    for name in ("utt2fold", "events.tsv"):
        (data / name).unlink()
    run(data, out)
    assert {path.name for path in out.glob("utt2*")} == {"utt2label", "utt2dur", "utt2num_samples"}
    assert not (out / "events.tsv").exists()


def test_segments_cut_recordings(write_data, make_waves, tmp_path):
    waves = make_waves(2)
    data, out = (
        write_data("d", waves, segments="s1 utt00 0.25 0.5\ns2 utt01 1.0 -1\ns3 utt00 0 0.1\ns4 utt00 5 6\n"),
        tmp_path / "out",
    )
    assert run(data, out) == 3
    archive = WaveArchive(out)
    assert archive.utt_ids == ["s1", "s2", "s3"]
    assert archive.num_samples.tolist() == [4000, 4800, 1600]
    assert np.abs(archive.read(0) / 32767.0 - waves[0][4000:8000]).max() < 1e-4
    assert (
        "s4\t" in (out / "bad_utts.txt").read_text()
        and "no samples between 5.0 and 6.0 s" in (out / "bad_utts.txt").read_text()
    )


def test_pipes_are_not_run(write_data, make_waves, tmp_path):
    data = write_data("d", make_waves(2, seconds=0.2))
    with open(data / "wav.scp", "a") as scp:
        scp.write(f"utt99 touch {tmp_path}/ran |\n")
    run(data, tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert "is a command" in (tmp_path / "out/bad_utts.txt").read_text()


def test_output_folders_of_any_name(write_data, make_waves, tmp_path):
    out = tmp_path / "a b,c:d ü"
    run(write_data("d", make_waves(3, seconds=0.2)), out)
    assert len(WaveArchive(out).read(2)) == 3200


def test_a_shard_of_broken_files_only(write_data, make_waves, tmp_path):
    data = write_data("d", make_waves(4, seconds=0.2))
    for k in (0, 1):
        (data / f"audio/utt0{k}.wav").write_bytes(b"")
    assert run(data, tmp_path / "out", max_bad=0.5) == 2
    before = written(tmp_path / "out")
    run(data, tmp_path / "out", max_bad=0.5)
    assert written(tmp_path / "out") == before


def test_job_out_of_range(write_data, make_waves, tmp_path):
    formatter = Formatter(write_data("d", make_waves(2, seconds=0.2)), tmp_path / "out")
    for job in (0, 4):
        with pytest.raises(UserError, match="must lie between 1 and --nj 3"):
            formatter.run_job(job, 3)


def test_embeddings_of_a_file_and_of_its_formatted_audio_agree(tmp_path, program):
    """Every program levels float samples beyond full scale in the same way, counts them and lists them."""
    soundfile.write(
        tmp_path / "x.wav", 16000 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000), 16000, subtype="FLOAT"
    )
    (tmp_path / "d").mkdir()
    (tmp_path / "d/wav.scp").write_text(f"x {tmp_path}/x.wav\n")
    done = program("format", "--data_dir", "d", "--out_dir", "dump")
    assert "1 utterances were changed (first: x: levelled to full scale, its peak is 16000 times that)" in done.stdout
    assert (tmp_path / "dump/changed_utts.txt").read_text().startswith("x\tlevelled")
    program("embed", "--model", "baseline:logmel", "--data_dir", "dump", "--out_dir", "e")
    done = program("embed", "--model", "baseline:logmel", "x.wav", "-o", "e.npz")
    assert "x.wav: levelled to full scale" in done.stderr
    one, other = np.load(tmp_path / "e.npz")["x.scene"], np.asarray(EmbeddingStore(tmp_path / "e").matrix)[0]
    np.testing.assert_allclose(one, other, atol=0.02)


EVENT = "utt_id\tonset\toffset\tlabel\nutt00\t0\t0.2\tx\nutt01\t0.1\t{}\tx\n"


def test_an_event_that_ends_a_little_late_is_clipped_counted_and_listed(write_data, make_waves, tmp_path, capsys):
    data, out = write_data("d", make_waves(2, seconds=0.3), **{"events.tsv": EVENT.format(0.349)}), tmp_path / "out"
    run(data, out)
    assert DataDir(out).events()["utt01"] == [(0.1, 0.3, "x")]
    assert "1 events that end up to 50 ms after their recordings were clipped" in capsys.readouterr().out
    assert (
        out / "clipped_events.txt"
    ).read_text() == f"{data}/events.tsv:3\tutt01\tends at 0.349 s, its recording at 0.300 s\n"
    (data / "events.tsv").write_text(EVENT.format(0.3))
    run(data, out)
    assert not (out / "clipped_events.txt").exists()


@pytest.mark.parametrize("times", ["0.36", "12.5", "1e9"])
def test_an_event_after_its_recording_is_refused_while_data_are_prepared(write_data, make_waves, tmp_path, times):
    data = write_data("d", make_waves(2, seconds=0.3), **{"events.tsv": EVENT.format(times)})
    with pytest.raises(DataError, match=r"d/events.tsv:3: utt01: 'x' from 0.1 to .* s in a recording of 0.300 s"):
        run(data, tmp_path / "out")


def test_the_stage_from_python_as_a_whole_and_by_jobs(make_waves, write_data, tmp_path):
    data = write_data("data", make_waves(3))
    assert format_audio(FormatOptions(data, tmp_path / "whole")) == 3
    shares = [FormatOptions(data, tmp_path / "parts", jobs=2, job=job) for job in (1, 2)]
    assert [format_audio(share) for share in shares] == [None, None]
    assert not (tmp_path / "parts/wav.scp").exists()
    assert format_audio(FormatOptions(data, tmp_path / "parts", merge=True)) == 3
    names = [(tmp_path / name / "utt2num_samples").read_text() for name in ("whole", "parts")]
    assert names[0] == names[1]
