"""fix_data_dir.sh: repairs, tells what it removes, and keeps the former files."""

MESSY = {
    "wav.scp": b"\xef\xbb\xbfb /b.wav\r\na /a.wav \n\nc\nd /d.wav\na /a.wav",
    "utt2spk": "d s1\nb s2\na s1\nz s1\n",
    "spk2utt": "s9 q\n",
    "events.tsv": "utt_id\tonset\toffset\tlabel\r\nb\t2\t3\tx\n"
    "b\t1\t2\tx\nz\t0\t1\tx\na\t2\t1\tx\n",
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
    for told in ("wav.scp:4: line removed: no path", "wav.scp:6: repeated line of a removed",
                 "utt2spk: z removed", "events.tsv:4: line removed",
                 "events.tsv:5: line removed"):  # fmt: skip
        assert f"d/{told}" in done.stderr
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
    assert (done.returncode, "kept as it is" in done.stdout) == (0, True)
    assert not (folder / ".backup").exists()


def test_segments_decide_which_recordings_stay(run, data_dir):
    folder = data_dir(
        "d", {"wav.scp": "r2 /2\nr1 /1\nr3 /3\n", "segments": "b r1 0 1\na r2 0 1\nc r9 0 1\n"}
    )
    assert run.utils("fix_data_dir.sh", "d").returncode == 0
    assert (folder / "wav.scp").read_text() == "r1 /1\nr2 /2\n"
    assert (folder / "segments").read_text() == "a r2 0 1\nb r1 0 1\n"


def test_two_values_for_one_id_are_left_to_the_user(run, data_dir):
    files = {"wav.scp": "b /x\na /1\na /2\n"}
    folder = data_dir("d", files)
    done = run.utils("fix_data_dir.sh", "d")
    assert done.returncode == 2
    assert "d/wav.scp:3: a has another value at line 2" in done.stderr
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
