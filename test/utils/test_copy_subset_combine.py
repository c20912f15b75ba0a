"""copy_data_dir.sh, subset_data_dir.sh and combine_data.sh."""

import pytest

IDS = [f"u{i}" for i in range(8)]
FILES = {
    "wav.scp": "".join(f"{u} /{u}.wav\n" for u in IDS),
    "utt2spk": "".join(f"{u} s{int(u[1]) // 3}\n" for u in IDS),
    "utt2dur": "".join(f"{u} {9 - int(u[1])}\n" for u in IDS),
    "utt2label": "".join(f"{u} x,y\n" for u in IDS),
    "events.tsv": "utt_id\tonset\toffset\tlabel\nu1\t0\t1\tdog\nu6\t0\t1\tdog\nu6\t1\t2\tcat\n",
    "notes.txt": "not a table\n",
}


def ids(folder, name="wav.scp"):
    return [line.split()[0] for line in (folder / name).read_text().splitlines()]


def valid(run, name):
    done = run.utils("validate_data_dir.sh", name)
    assert done.returncode == 0, done.stderr


def test_copy_with_new_ids(run, data_dir, tmp_path):
    data_dir("d", FILES)
    data_dir("new", {"segments": "stale"})
    done = run.utils("copy_data_dir.sh", "--utt-prefix", "p-", "--spk-suffix", "x", "d", "new")
    assert done.returncode == 0, done.stderr
    valid(run, "new")
    assert ids(tmp_path / "new") == [f"p-{u}" for u in IDS]
    assert (tmp_path / "new/spk2utt").read_text().splitlines()[0] == "s0x p-u0 p-u1 p-u2"
    assert "p-u1\t0\t1\tdog" in (tmp_path / "new/events.tsv").read_text()
    assert "d/notes.txt: not copied" in done.stderr
    assert "new/segments: removed" in done.stderr


def test_archives_of_wav_scp_are_not_listed_as_left_out(run, data_dir, tmp_path):
    scp = f"u0 {tmp_path}/d/wav.00001.ark:3\nu1 d/wav.00002.ark:3\nu2 sox a.ark:1 -t wav - |\n"
    data_dir("d", {"wav.scp": scp, "wav.00001.ark": "", "wav.00002.ark": "", "wav.00003.ark": "", "notes.txt": "n\n"})
    done = run.utils("subset_data_dir.sh", "d", "1", "new")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("not copied") == 2
    assert "d/notes.txt: not copied" in done.stderr and "d/wav.00003.ark: not copied" in done.stderr


def test_copy_keeps_recordings_apart_from_utterances(run, data_dir, tmp_path):
    data_dir("d", {"wav.scp": "r /r\n", "segments": "a r 0 1\n"})
    assert run.utils("copy_data_dir.sh", "--utt-prefix", "p", "d", "new").returncode == 0
    assert (tmp_path / "new/wav.scp").read_text() == "r /r\n"
    assert (tmp_path / "new/segments").read_text() == "pa r 0 1\n"


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--first"], ["u0", "u1", "u2"]),
        (["--last"], ["u5", "u6", "u7"]),
        (["--shortest"], ["u5", "u6", "u7"]),
    ],
)
def test_subset_by_order(run, data_dir, tmp_path, options, expected):
    data_dir("d", FILES)
    assert run.utils("subset_data_dir.sh", *options, "d", "3", "new").returncode == 0
    assert ids(tmp_path / "new") == expected
    valid(run, "new")


def test_random_subset_follows_the_seed(run, data_dir, tmp_path):
    data_dir("d", FILES)
    chosen = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("e", 2)):
        assert run.utils("subset_data_dir.sh", "--seed", seed, "d", "4", name).returncode == 0
        chosen[name] = ids(tmp_path / name)
        valid(run, name)
    assert chosen["a"] == chosen["b"]
    assert len({tuple(c) for c in chosen.values()}) > 1
    assert all(len(c) == 4 and c == sorted(c) for c in chosen.values())


def test_subset_by_hours(run, data_dir, tmp_path):
    names = [line.split()[0] for line in FILES["wav.scp"].splitlines()]
    data_dir("d", {"wav.scp": FILES["wav.scp"], "utt2dur": "".join(f"{name} 36.0\n" for name in names)})
    for name, hours in (("small", "0.02"), ("large", "0.035"), ("again", "0.02")):
        assert run.utils("subset_data_dir.sh", "--hours", "d", hours, name).returncode == 0
        valid(run, name)
    small, large = ids(tmp_path / "small"), ids(tmp_path / "large")
    assert len(small) == 2 and len(large) == 4 and set(small) < set(large)
    assert ids(tmp_path / "again") == small


def test_subset_by_speaker(run, data_dir, tmp_path):
    data_dir("d", FILES)
    run.utils("subset_data_dir.sh", "--speakers", "d", "4", "whole")
    speakers = set(line.split()[1] for line in (tmp_path / "whole/utt2spk").read_text().splitlines())
    expected = [line.split()[0] for line in FILES["utt2spk"].splitlines() if line.split()[1] in speakers]
    assert ids(tmp_path / "whole") == expected and len(expected) >= 4
    run.utils("subset_data_dir.sh", "--per-spk", "d", "1", "each")
    assert len(ids(tmp_path / "each", "spk2utt")) == len(ids(tmp_path / "each")) == 3


def test_subset_by_list(run, data_dir, tmp_path):
    data_dir("d", FILES)
    (tmp_path / "utts").write_text("u6\nu1\n")
    (tmp_path / "spks").write_text("s2\n")
    assert run.utils("subset_data_dir.sh", "--utt-list", "utts", "d", "new").returncode == 0
    assert ids(tmp_path / "new") == ["u1", "u6"]
    assert (tmp_path / "new/events.tsv").read_text() == FILES["events.tsv"]
    assert run.utils("subset_data_dir.sh", "--spk-list", "spks", "d", "new").returncode == 0
    assert ids(tmp_path / "new") == ["u6", "u7"]


def test_subset_takes_only_the_recordings_it_needs(run, data_dir, tmp_path):
    data_dir("d", {"wav.scp": "r1 /1\nr2 /2\n", "segments": "a r2 0 1\nb r1 0 1\nc r2 1 2\n"})
    (tmp_path / "utts").write_text("a\nc\n")
    assert run.utils("subset_data_dir.sh", "--utt-list", "utts", "d", "new").returncode == 0
    assert ids(tmp_path / "new") == ["r2"]
    valid(run, "new")


@pytest.mark.parametrize(
    "arguments, reported",
    [
        (["d", "9", "new"], "9 utterances asked for, it has 8"),
        (["d", "0", "new"], "'0' is not a number of utterances"),
        (["d", "new"], "SOURCE N TARGET without one"),
        (["d", "3", "d"], "the same directory"),
        (["--first", "--last", "d", "3", "new"], "not allowed with"),
        (["--utt-list", "none", "d", "new"], "none: cannot be read"),
        (["--utt-list", "strange", "d", "new"], "strange:2: q is not in d"),
        (["--speakers", "plain", "1", "new"], "plain/utt2spk: missing"),
        (["--shortest", "plain", "1", "new"], "plain/utt2dur: missing"),
        (["--hours", "plain", "1", "new"], "plain/utt2dur: missing"),
        (["--hours", "timed", "1", "new"], "timed: 1 hours asked for, it has 0.50"),
        (["--hours", "timed", "-1", "new"], "'-1' is not a number of hours"),
        (["none", "1", "new"], "no such data directory"),
    ],
)
def test_subset_refuses(run, data_dir, tmp_path, arguments, reported):
    data_dir("d", FILES)
    data_dir("plain", {"wav.scp": "a /a\n"})
    data_dir("timed", {"wav.scp": "a /a\n", "utt2dur": "a 1800\n"})
    (tmp_path / "strange").write_text("u1\nq\n")
    done = run.utils("subset_data_dir.sh", *arguments)
    assert done.returncode == 2
    assert reported in done.stderr
    assert not (tmp_path / "new").exists()


def test_combine(run, data_dir, tmp_path):
    data_dir("d", FILES)
    other = {"wav.scp": "B /B\nz /z\n", "utt2spk": "B s0\nz s1\n", "utt2pitch": "B 1\nz 2\n"}
    data_dir("e", {**other, "events.tsv": "utt_id\tonset\toffset\tlabel\nB\t0\t1\tdog\n"})
    done = run.utils("combine_data.sh", "new", "d", "e")
    assert done.returncode == 0, done.stderr
    valid(run, "new")
    assert ids(tmp_path / "new") == ["B", *IDS, "z"]
    assert ids(tmp_path / "new", "events.tsv") == ["utt_id", "B", "u1", "u6", "u6"]
    assert "utt2dur: not joined, missing in e" in done.stderr
    assert "utt2pitch: not joined, missing in d" in done.stderr
    assert not (tmp_path / "new/utt2dur").exists()


def test_combine_overlapping_and_conflicting(run, data_dir, tmp_path):
    data_dir("d", {"wav.scp": "a /a\nb /b\n"})
    data_dir("e", {"wav.scp": "b /b\nc /c\n"})
    data_dir("f", {"wav.scp": "b /other\n"})
    assert run.utils("combine_data.sh", "new", "d", "e").returncode == 0
    assert ids(tmp_path / "new") == ["a", "b", "c"]
    done = run.utils("combine_data.sh", "new2", "d", "f")
    assert (done.returncode, "f/wav.scp: b has a different value" in done.stderr) == (2, True)


def test_combine_makes_segments_where_some_are_missing(run, data_dir, tmp_path):
    data_dir("d", {"wav.scp": "r /r\n", "segments": "r-1 r 0 1\n"})
    data_dir("e", {"wav.scp": "x /x\n"})
    done = run.utils("combine_data.sh", "new", "d", "e")
    assert (done.returncode, "run get_utt2dur.sh e first" in done.stderr) == (2, True)
    data_dir("e", {"utt2dur": "x 2.5\n"})
    assert run.utils("combine_data.sh", "new", "d", "e").returncode == 0
    assert (tmp_path / "new/segments").read_text() == "r-1 r 0 1\nx x 0 2.5\n"
    valid(run, "new")
