"""data/scan.py: folders of audio and label lists; what is wrong with a list is told with its line."""

import errno
import os

import numpy as np
import pytest
import soundfile

from ssltoolkit.data.datadir import DataDir
from ssltoolkit.data.lists import write_task
from ssltoolkit.data.scan import find_audio, write_pool
from ssltoolkit.errors import DataError, UserError

HEADERS = {"clip": "path\tlabel\tsplit", "sed": "path\tonset\toffset\tlabel\tsplit", "pitch": "path\tmidi\tsplit"}
GOOD = {
    "clip": ["a.wav\tdog\ttrain", "b.wav\tcat,dog\tvalid", "c.wav\tcat\ttest"],
    "sed": ["a.wav\t0.5\t1\tdog\ttrain", "a.wav\t0\t0.2\tcat\ttrain", "b.wav\t0\t.1\tcat\tvalid", "c.wav\t0\t1e-1\tcat\ttest"],
    "pitch": ["a.wav\t60\ttrain", "b.wav\t61\tvalid", "c.wav\t060\ttest"],
}


@pytest.fixture
def task(tmp_path):
    """call(kind, row, ...): what a list with these rows gives."""
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16000), 8000)
    (tmp_path / "linked.wav").symlink_to(tmp_path / "a.wav")

    def call(kind, *rows):
        (tmp_path / "list.tsv").write_text("\n".join((HEADERS[kind], *rows, "")))
        return write_task(tmp_path / "list.tsv", kind, tmp_path / "task")

    return call


@pytest.mark.parametrize("kind", HEADERS)
def test_a_list_becomes_data_directories(task, tmp_path, kind):
    assert task(kind, *GOOD[kind]) == [tmp_path / "c.wav"]
    train, valid = (DataDir(tmp_path / "task" / split) for split in ("train", "valid"))
    found = {"clip": train.labels, "sed": train.events, "pitch": train.pitches}[kind]()
    assert found == {"0-a": {"clip": ["dog"], "sed": [(0.0, 0.2, "cat"), (0.5, 1.0, "dog")], "pitch": 60}[kind]}
    assert kind != "sed" or valid.events() == {"0-b": [(0.0, 0.1, "cat")]}


@pytest.mark.parametrize(
    "kind, row, message",
    [
        ("clip", "a.wav\tdog\ttest", "a.wav is of split test, and of train in {}:2; keep one"),
        ("clip", "linked.wav\tdog\tvalid", "a.wav is of split valid, and of train in"),
        ("clip", "d.wav\tdog, cat\ttrain", "labels are separated by single commas without spaces"),
        ("clip", "d.wav\t\ttrain", "labels are separated by"),
        ("clip", "d.wav\tdog,wolf\ttest", r"1 label\(s\) of test are in neither train nor valid \(wolf\)"),
        ("clip", "d.wav\tdog\tdev", "split must be train, valid or test, got 'dev'"),
        ("pitch", "d.wav\tC4\ttrain", "the pitch must be a MIDI note number from 0 to 127, got 'C4'"),
        ("pitch", "d.wav\t128\ttrain", "the pitch must be a MIDI note number"),
        ("pitch", "d.wav\t62\ttest", r"1 midi\(s\) of test are in neither train nor valid \(62\)"),
        ("sed", "d.wav\t0,5\t1\tdog\ttrain", "onset and offset must be numbers of seconds, with a decimal point, got '0,5' and '1'"),
        ("sed", "d.wav\t0\tnan\tdog\ttrain", "onset and offset must be numbers of seconds"),
        ("sed", "d.wav\t1\t0.5\tdog\ttrain", "needs 0 <= onset < offset, got '1' and '0.5'"),
        ("sed", "d.wav\t0\t1\t\ttrain", "an event without a label"),
        ("sed", "d.wav\t\t\tdog\ttrain", "onset and offset must be numbers"),
        ("sed", "d.wav\t0\t1\twolf\ttest", r"1 label\(s\) of test are in neither"),
    ],
)
def test_mistakes_are_told_with_their_line_before_anything_is_written(task, tmp_path, kind, row, message):
    with pytest.raises(DataError, match=message.format(tmp_path / "list.tsv")) as error:
        task(kind, *GOOD[kind], row)
    assert str(error.value).startswith(f"{tmp_path / 'list.tsv'}:{len(GOOD[kind]) + 2}: ") and "\n" not in str(error.value)
    assert not (tmp_path / "task").exists()


def test_audio_of_formats_that_cannot_be_read_is_counted_and_listed(tmp_path, capsys):
    folder, out = tmp_path / "audio", tmp_path / "data"
    folder.mkdir()
    for number in range(6):
        soundfile.write(folder / f"{number}.wav", np.zeros(800), 8000)
    for name in ("a tape.m4a", "b.M4A", "c\nd.wma", "notes.txt"):
        (folder / name).touch()
    assert write_pool(folder, out) == {"pretrain": 4, "pretrain_valid": 2, "excluded": 0}
    error = capsys.readouterr().err
    assert "warning: 3 audio file(s) left out: format that cannot be read (2 .m4a, 1 .wma), first " in error and error.count("\n") == 1
    assert f"each like this: ffmpeg -i a.m4a a.flac; listed in {out / 'pretrain' / 'unread_audio.txt'}" in error
    listed = (out / "pretrain" / "unread_audio.txt").read_text().splitlines()
    assert listed == [f"{folder}/{name}\tformat that cannot be read" for name in ("a tape.m4a", "b.M4A", "c\\nd.wma")]
    for name in ("a tape.m4a", "b.M4A", "c\nd.wma"):
        (folder / name).unlink()
    write_pool(folder, out)
    assert capsys.readouterr().err == "" and not (out / "pretrain" / "unread_audio.txt").exists()
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "a.amr").touch()
    with pytest.raises(UserError, match="no audio files below it"):
        find_audio(tmp_path / "phone")
    assert "(1 .amr)" in capsys.readouterr().err


def test_broken_links_and_shut_folders_are_counted_and_listed(tmp_path, capsys, monkeypatch):
    folder, out = tmp_path / "audio", tmp_path / "data"
    (folder / "shut").mkdir(parents=True)
    for number in range(6):
        soundfile.write(folder / f"{number}.wav", np.zeros(800), 8000)
    (folder / "moved.flac").symlink_to(tmp_path / "nowhere.flac")
    os.mkfifo(folder / "pipe.wav")
    (folder / "linked.wav").symlink_to(folder / "0.wav")
    (folder / "moved.txt").symlink_to(tmp_path / "nowhere.txt")
    scandir = os.scandir

    def refusing(path):  # for a user whom permissions do not bind too
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert sum(write_pool(folder, out).values()) == 7
    listed = (out / "pretrain" / "unread_audio.txt").read_text()
    assert listed == f"{folder}/moved.flac\tbroken link or no file\n{folder}/pipe.wav\tbroken link or no file\n{folder}/shut\tno permission to look into it\n"
    error = capsys.readouterr().err
    assert "warning: 2 audio file(s) left out: broken link or no file, first " in error and error.count("\n") == 2
    assert f"warning: 1 folder(s) left out: no permission to look into it, first {folder}/shut; " in error
