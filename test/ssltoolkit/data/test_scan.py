"""data/scan.py: folders of audio and label lists; errors in a list name its line."""

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
    "sed": [
        "a.wav\t0.5\t1\tdog\ttrain",
        "a.wav\t0\t0.2\tcat\ttrain",
        "b.wav\t0\t.1\tcat\tvalid",
        "c.wav\t0\t1e-1\tcat\ttest",
    ],
    "pitch": ["a.wav\t60\ttrain", "b.wav\t61\tvalid", "c.wav\t060\ttest"],
}


@pytest.fixture
def task(tmp_path):
    """task(kind, row, ...): write a list with these rows and return the result of ``write_task``."""
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
        (
            "sed",
            "d.wav\t0,5\t1\tdog\ttrain",
            "onset and offset must be numbers of seconds, with a decimal point, got '0,5' and '1'",
        ),
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
    assert str(error.value).startswith(f"{tmp_path / 'list.tsv'}:{len(GOOD[kind]) + 2}: ") and "\n" not in str(
        error.value
    )
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
    assert (
        "warning: 3 audio file(s) left out: format that cannot be read (2 .m4a, 1 .wma), first " in error
        and error.count("\n") == 1
    )
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

    def refusing(path):  # root may read every folder
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert sum(write_pool(folder, out).values()) == 7
    listed = (out / "pretrain" / "unread_audio.txt").read_text()
    assert (
        listed == f"{folder}/moved.flac\tbroken link or no file\n{folder}/pipe.wav\tbroken link or no "
        f"file\n{folder}/shut\tno permission to look into it\n"
    )
    error = capsys.readouterr().err
    assert "warning: 2 audio file(s) left out: broken link or no file, first " in error and error.count("\n") == 2
    assert f"warning: 1 folder(s) left out: no permission to look into it, first {folder}/shut; " in error


def test_system_files_are_left_out_and_counted_once(tmp_path, capsys):
    folder, out = tmp_path / "audio", tmp_path / "data"
    for name in (
        "a.wav",
        "sub/b.wav",
        "._a.wav",
        "sub/._b.wav",
        "__MACOSX/sub/b.wav",
        "__MACOSX/._a.wav",
        ".hidden/c.wav",
        ".d.wav",
        ".DS_Store",
        "Thumbs.db",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert sorted(find_audio(folder, out / "unread.txt")) == ["a", "sub-b"]
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and "6 audio file(s) left out: system file or hidden" in said
    assert (out / "unread.txt").read_text().count("system file or hidden") == 6
    assert sorted(find_audio(folder / ".hidden")) == ["c"]  # a hidden folder is read if the user names it


def test_rows_of_system_files_are_left_out(task, tmp_path, capsys):
    (tmp_path / "._a.wav").write_bytes(b"\0\5\x16\7")
    task("clip", *GOOD["clip"], "._a.wav\tdog\ttrain", "sub/._b.wav\tdog\ttrain")
    assert list(DataDir(tmp_path / "task/train").labels()) == ["0-a"]
    assert (
        f"2 row(s) of {tmp_path}/list.tsv left out: system files of macOS, no audio, first {tmp_path}/list.tsv:5"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "kind, row",
    [
        ("clip", "d.wav\tdog \ttrain"),
        ("sed", "d.wav\t0\t1\tdog \ttrain"),
        ("sed", "d.wav\t0\t1\t\u00a0dog\ttrain"),
        ("clip", "d.wav\tdog\u3000\ttrain"),
    ],
)
def test_a_label_with_spaces_around_it_is_refused_in_every_list(task, kind, row):
    with pytest.raises(DataError, match=r"list.tsv:\d: .* spaces around"):
        task(kind, *GOOD[kind], row)


@pytest.mark.parametrize("kind", ["clip", "sed"])
def test_two_spellings_of_one_letter_are_one_label(task, kind):
    rows = {
        "clip": ["d.wav\tcafé,cafe\u0301\ttrain"],
        "sed": ["a.wav\t0\t1\tcafé\ttrain", "d.wav\t0\t1\tcafe\u0301\ttrain"],
    }[kind]
    with pytest.raises(DataError, match="uses other Unicode characters; write both the same way"):
        task(kind, *GOOD[kind], *rows)


def test_a_byte_order_mark_and_windows_line_ends_are_read(task, tmp_path):
    task("clip", *GOOD["clip"])
    plain = (tmp_path / "list.tsv").read_text()
    (tmp_path / "list.tsv").write_bytes(plain.replace("\n", "\r\n").encode("utf-8-sig"))
    write_task(tmp_path / "list.tsv", "clip", tmp_path / "marked")
    assert (tmp_path / "marked/train/utt2label").read_text() == (tmp_path / "task/train/utt2label").read_text()


@pytest.mark.parametrize("codec, named", [("latin-1", "ISO-8859-1"), ("utf-16", "UTF-16")])
def test_a_list_in_another_encoding_names_it_and_the_command(task, tmp_path, codec, named):
    task("clip", *GOOD["clip"])
    (tmp_path / "list.tsv").write_bytes((tmp_path / "list.tsv").read_text().replace("dog", "chïen").encode(codec))
    with pytest.raises(
        DataError,
        match=f"list.tsv.*: not UTF-8 text, it looks like {named}; convert it with: iconv -f {named} -t UTF-8",
    ):
        write_task(tmp_path / "list.tsv", "clip", tmp_path / "task")


def test_events_after_the_end_of_a_recording(task, tmp_path, capsys):
    """Such events are refused with the list's line; up to 50 ms (rounding) they are clipped, counted and listed."""
    for row in ("d.wav\t0.2\t12.5\tdog\ttrain", "d.wav\t0.2\t2.051\tdog\ttrain", "d.wav\t2\t2.01\tdog\ttrain"):
        with pytest.raises(DataError, match=r"list.tsv:6: .*d.wav: 'dog' from .* in a recording of 2.000 s"):
            task("sed", *GOOD["sed"], row)
        assert not (tmp_path / "task").exists()
    task("sed", *GOOD["sed"], "d.wav\t0.2\t2.049\tdog\ttrain")
    assert DataDir(tmp_path / "task/train").events()["1-d"] == [(0.2, 2.0, "dog")]
    assert "1 events that end up to 50 ms after their recordings were clipped" in capsys.readouterr().out
    assert "list.tsv:6\t" in (tmp_path / "task/train/clipped_events.txt").read_text()


def test_overlapping_and_repeated_events_of_a_class_are_merged(task, tmp_path, capsys):
    rows = [
        "d.wav\t0.2\t0.6\tdog\ttrain",
        "d.wav\t0.5\t1\tdog\ttrain",
        "d.wav\t0.5\t1\tdog\ttrain",
        "d.wav\t0.3\t0.9\tcat\ttrain",
        "d.wav\t1\t1.5\tdog\ttrain",
    ]
    task("sed", *GOOD["sed"], *rows)
    assert DataDir(tmp_path / "task/train").events()["1-d"] == [(0.2, 1.0, "dog"), (0.3, 0.9, "cat"), (1.0, 1.5, "dog")]
    assert "2 events of train overlap others of their class and were merged" in capsys.readouterr().out
    assert len((tmp_path / "task/train/merged_events.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_split_without_any_event_is_refused(task, tmp_path, split):
    rows = [row if not row.endswith(split) else f"{row.split()[0]}\t\t\t\t{split}" for row in GOOD["sed"]]
    with pytest.raises(DataError, match=f"no file of split '{split}' has an event, so its scores would be meaningless"):
        task("sed", *rows)
    assert not (tmp_path / "task").exists()
