"""data/archive.py: random access to wave archives, and errors for damaged ones."""

import os

import kaldiio
import numpy as np
import pytest

from ssltoolkit.data import archive as archive_module
from ssltoolkit.data.archive import WaveArchive, append_to_ark
from ssltoolkit.errors import DataError


@pytest.fixture
def folder(format_data, make_waves):
    return format_data("d", make_waves(4, seconds=0.3))


def rewrite(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_kaldiio_reads_the_same(folder):
    archive = WaveArchive(folder)
    for index, (utt, (rate, wave)) in enumerate(kaldiio.load_scp_sequential(str(folder / "wav.scp"))):
        assert (utt, rate) == (archive.utt_ids[index], 16000)
        np.testing.assert_array_equal(wave, archive.read(index))


def test_random_access_equals_the_full_read(folder):
    archive = WaveArchive(folder)
    rng = np.random.default_rng(0)
    for _ in range(50):
        index, start = int(rng.integers(4)), int(rng.integers(0, 4800))
        length = int(rng.integers(1, 6000))
        np.testing.assert_array_equal(archive.read(index, start, length), archive.read(index)[start : start + length])
    assert len(archive.read(0, 4800, 5)) == 0
    archive.close()
    assert len(archive.read(0)) == 4800


def test_a_corpus_of_more_archives_than_files_may_be_open(tmp_path, monkeypatch):
    scp = []
    for number in range(5):
        with (tmp_path / f"{number}.ark").open("wb") as stream:
            offset = append_to_ark(stream, f"u{number}", (16000, np.full(800, number, np.int16)))
        scp.append(f"u{number} {tmp_path}/{number}.ark:{offset}\n")
    (tmp_path / "wav.scp").write_text("".join(scp))
    (tmp_path / "utt2num_samples").write_text("".join(f"u{number} 800\n" for number in range(5)))
    monkeypatch.setattr(archive_module, "_OPEN_FILES", 2)
    archive = WaveArchive(tmp_path)
    for index in [*np.random.default_rng(0).integers(5, size=40), 4, 0, 1]:
        assert (archive.read(index) == index).all() and len(archive._files) <= 2
    os.utime(tmp_path / "4.ark", ns=(0, 0))
    with pytest.raises(DataError, match="was changed while it was being read"):
        archive.read(4)


def test_truncated_archive(folder):
    ark = next(folder.glob("*.ark"))
    ark.write_bytes(ark.read_bytes()[:-500])
    archive = WaveArchive(folder)
    assert len(archive.read(0)) == 4800
    with pytest.raises(DataError, match=r"utt03 \(.*\.ark:\d+\): the archive ends early"):
        archive.read(3)
    ark.write_bytes(b"")
    with pytest.raises(DataError, match="no wave found"):
        WaveArchive(folder).read(0)


def test_wrong_offset_and_wrong_length(folder):
    place = (folder / "wav.scp").read_text().splitlines()[1].split(" ", 1)[1]
    path, offset = place.rsplit(":", 1)
    rewrite(folder, "wav.scp", place, f"{path}:{int(offset) + 2}")
    archive = WaveArchive(folder)
    with pytest.raises(DataError, match="utt01 .*no wave found at this offset"):
        archive.read(1)
    rewrite(folder, "utt2num_samples", "utt00 4800", "utt00 4801")
    with pytest.raises(DataError, match="utt00 .*has 4800 samples, utt2num_samples says 4801"):
        WaveArchive(folder).read(0)


@pytest.mark.parametrize(
    "name, old, new, part",
    [
        ("wav.scp", "utt01 ", "utt01 /x.wav\nutt01b ", "wav.scp:2: expected 'archive:offset', got '/x.wav'"),
        ("utt2num_samples", "utt02 4800\n", "", "no sample count for 'utt02'"),
        ("utt2num_samples", "utt02 4800", "utt02 many", "no sample count for 'utt02'"),
        ("utt2num_samples", "utt02 4800", "utt02 0", "no sample count for 'utt02'"),
        ("utt2num_samples", "utt02 4800", "utt02 4800\nutt02 4800", "utt2num_samples:4: id 'utt02' appears twice"),
        (
            "utt2num_samples",
            "utt02 4800",
            "utt02 4800\nutt00b 4800",
            "utt2num_samples:4: id 'utt00b' comes after 'utt02'",
        ),
        ("utt2num_samples", "utt03 4800\n", "", "no sample count for 'utt03'"),
        ("wav.scp", "utt01 ", "utt000 ", "no sample count for 'utt000'"),
        ("wav.scp", "utt02 ", "utt00a ", "wav.scp:3: id 'utt00a' comes after 'utt01'"),
    ],
)
def test_malformed_tables(folder, name, old, new, part):
    rewrite(folder, name, old, new)
    with pytest.raises(DataError) as caught:
        WaveArchive(folder)
    assert part in str(caught.value)


def test_a_directory_without_utterances(tmp_path, tiny_yaml, program):
    (tmp_path / "empty").mkdir()
    for table in ("wav.scp", "utt2num_samples"):
        (tmp_path / "empty" / table).write_text("")
    for name, *options in (
        ("pretrain", "--config", tiny_yaml, "--train_dir", "empty", "--exp_dir", "exp"),
        ("features", "--config", tiny_yaml, "--data_dir", "empty", "--out_dir", "out"),
        ("embed", "--model", "baseline:logmel", "--data_dir", "empty", "--out_dir", "out"),
    ):
        done = program(name, *options)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "empty/wav.scp: no utterances; the file is empty, run stages 1 and 2 again" in done.stderr


def test_missing_archive_and_wrong_rate(folder):
    archive = WaveArchive(folder)
    archive.check_rate(16000)
    with pytest.raises(DataError, match="waves at 16000 Hz, the frontend expects 8000 Hz"):
        archive.check_rate(8000)
    next(folder.glob("*.ark")).unlink()
    with pytest.raises(DataError, match="utt00 .*cannot open the archive: No such file"):
        WaveArchive(folder).read(0)


def test_state_follows_the_archive(folder):
    state = WaveArchive(folder).state([0, 1])
    assert WaveArchive(folder).state([0, 1]) == state != WaveArchive(folder).state([0, 2])
    ark = next(folder.glob("*.ark"))
    ark.write_bytes(ark.read_bytes())
    assert WaveArchive(folder).state([0, 1]) != state


def test_counts_of_more_utterances_than_there_are(folder):
    lines = (folder / "wav.scp").read_text().splitlines(keepends=True)
    (folder / "wav.scp").write_text("".join(lines[1::2]))
    archive = WaveArchive(folder)
    assert archive.utt_ids == ["utt01", "utt03"] and len(archive.read(1)) == 4800


def test_a_name_that_no_file_can_have(folder):
    """A file name that is too long is reported when its line is read; the other lines stay usable. A NUL byte is
    refused with the number of its line.
    """
    text = (folder / "wav.scp").read_text().splitlines()
    text[2] = text[2].replace(".ark:", f"{300 * 'x'}.ark:")
    (folder / "wav.scp").write_text("\n".join(text) + "\n")
    archive = WaveArchive(folder)
    assert len(archive.state(range(4))[0]) == 2 and len(archive.read(0))
    with pytest.raises(DataError, match="utt02 .*cannot open the archive: File name too long"):
        archive.read(2)
    (folder / "wav.scp").write_text("\n".join(text).replace(300 * "x", "\0") + "\n")
    with pytest.raises(DataError, match="wav.scp:3: contains a NUL byte"):
        WaveArchive(folder)
