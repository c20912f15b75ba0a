"""fix_data_dir.sh: repairs a directory, reports what it removes, and keeps the old files."""

import pytest

MESSY = {
    "wav.scp": b"\xef\xbb\xbfb /b.wav\r\na /a.wav \n\nc /c.wav\nd /d.wav\na /a.wav",
    "utt2spk": "d s1\nb s2\na s1\nz s1\n",
    "spk2utt": "s9 q\n",
    "events.tsv": "utt_id\tonset\toffset\tlabel\r\nb\t2\t3\tx\nb\t1\t2\tx \nz\t0\t1\tx\n",
}


def test_fix_repairs_and_tells(run, data_dir):
    folder = data_dir("d", MESSY)
    done = run.utils("fix_data_dir.sh", "d")
    assert done.returncode == 0, done.stderr
    assert (folder / "wav.scp").read_text() == "a /a.wav\nb /b.wav\nd /d.wav\n"
    assert (folder / "utt2spk").read_text() == "a s1\nb s2\nd s1\n"
    assert (folder / "spk2utt").read_text() == "s1 a d\ns2 b\n"
    events = "utt_id\tonset\toffset\tlabel\nb\t1\t2\tx\nb\t2\t3\tx\n"
    assert (folder / "events.tsv").read_text() == events
    for reported in ("wav.scp: c removed: other files", "wav.scp:6: repeated line of a removed",
                 "utt2spk: z removed", "events.tsv:4: line removed"):  # fmt: skip
        assert f"d/{reported}" in done.stderr
    assert "d/utt2spk: 4 -> 3 lines" in done.stdout
    assert run.utils("validate_data_dir.sh", "d").returncode == 0


def test_former_files_are_never_written_over(run, data_dir):
    folder = data_dir("d", MESSY)
    run.utils("fix_data_dir.sh", "d")
    assert (folder / ".backup/wav.scp").read_bytes() == MESSY["wav.scp"]
    data_dir("d", {"wav.scp": "b /b.wav\na /a.wav\nd /d.wav\n"})
    run.utils("fix_data_dir.sh", "d")
    assert (folder / ".backup/wav.scp").read_bytes() == MESSY["wav.scp"]
    assert (folder / ".backup/wav.scp.2").read_text() == "b /b.wav\na /a.wav\nd /d.wav\n"


def test_a_right_directory_is_left_alone(run, data_dir):
    folder = data_dir("d", {"wav.scp": "a /a\nb /b\n"})
    done = run.utils("fix_data_dir.sh", "d")
    assert (done.returncode, "unchanged" in done.stdout) == (0, True)
    assert not (folder / ".backup").exists()


def test_segments_decide_which_recordings_stay(run, data_dir):
    folder = data_dir("d", {"wav.scp": "r2 /2\nr1 /1\nr3 /3\n", "segments": "b r1 0 1\na r2 0 1\nc r9 0 1\n"})
    assert run.utils("fix_data_dir.sh", "d").returncode == 0
    assert (folder / "wav.scp").read_text() == "r1 /1\nr2 /2\n"
    assert (folder / "segments").read_text() == "a r2 0 1\nb r1 0 1\n"


def test_two_values_for_one_id_are_left_to_the_user(run, data_dir):
    files = {"wav.scp": "b /x\na /1\na /2\n"}
    folder = data_dir("d", files)
    done = run.utils("fix_data_dir.sh", "d")
    assert done.returncode == 2
    assert "d/wav.scp:3: a has a different value at line 2" in done.stderr
    assert (folder / "wav.scp").read_text() == files["wav.scp"]


def test_nothing_in_common_changes_nothing(run, data_dir):
    folder = data_dir("d", {"wav.scp": "b /x\na /1\n", "utt2spk": "c s\n"})
    done = run.utils("fix_data_dir.sh", "d")
    assert (done.returncode, "no utterance is in every file" in done.stderr) == (2, True)
    assert (folder / "wav.scp").read_text() == "b /x\na /1\n"


def test_utt2spk_is_made_from_spk2utt(run, data_dir):
    folder = data_dir("d", {"wav.scp": "a /x\nb /1\n", "spk2utt": "s2 b\ns1 a\n"})
    assert run.utils("fix_data_dir.sh", "d").returncode == 0
    assert (folder / "utt2spk").read_text() == "a s1\nb s2\n"
    assert run.utils("validate_data_dir.sh", "d").returncode == 0


WHOLE = {
    "wav.scp": "noise /n.wav\nrec /r.wav\n",
    "segments": "s noise 0.000000 1.000000\nw rec 0 -1\n",
    "utt2label": "s _silence_\nw yes\n",
}


def test_whole_recordings_beside_spans_are_kept(run, data_dir):
    """An end of -1, which the recipes write, means the end of the recording."""
    folder = data_dir("d", WHOLE)
    assert run.utils("validate_data_dir.sh", "d").returncode == 0
    assert run.utils("fix_data_dir.sh", "d").returncode == 0
    assert {name: (folder / name).read_text() for name in WHOLE} == WHOLE


UNREADABLE = {
    "no path": ("wav.scp", b"a /1\nb\n", "wav.scp:2: no path after the id"),
    "an end of -2": ("segments", b"u a 0 -2\nv b 0 1\n", "segments:1: needs 0 <= start < end"),
    "five columns": ("segments", b"u a 0 1 2\nv b 0 1\n", "segments:1: 5 columns"),
    "labels with spaces": ("utt2label", b"a x\nb y, z\n", "utt2label:2: labels are separated"),
    "latin-1": ("utt2label", b"a x\nb \xe9t\xe9\n", "utt2label:2: not UTF-8 text, it looks like ISO"),
    "utf-16": ("utt2label", "a x\nb y\n".encode("utf-16"), "utt2label: not UTF-8 text, it looks like UTF-16"),
    "a zero byte": ("utt2label", b"a x\nb y\0\n", "utt2label:2: contains a NUL byte"),
    "an event": ("events.tsv", b"utt_id\tonset\toffset\tlabel\na\t1\t1\tx\n", "events.tsv:2: needs 0"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_never_removed(run, data_dir, case):
    name, content, reported = UNREADABLE[case]
    files = {"wav.scp": b"b /x \na /1\n", name: content}
    folder = data_dir("d", files)
    done = run.utils("fix_data_dir.sh", "d")
    assert done.returncode == 2 and f"d/{reported}" in done.stderr
    assert {name: (folder / name).read_bytes() for name in files} == files


def test_commands_and_files_of_other_programs_are_kept(run, data_dir):
    files = {"wav.scp": "a sox a.mp3 -t wav - |\nb /b.wav\n", "utt2note": "b said twice\n"}
    folder = data_dir("d", files)
    assert run.utils("fix_data_dir.sh", "d").returncode == 0
    assert {name: (folder / name).read_text() for name in files} == files
    assert "a command" in run.utils("validate_data_dir.sh", "d").stderr
    assert run.utils("validate_data_dir.sh", "--allow-pipes", "d").returncode == 0
