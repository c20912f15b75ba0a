"""validate_data_dir.sh: every fault is reported with file and line, and the status is 1."""

import pytest

GOOD = {
    "wav.scp": "r1 /a b.wav\nr2 x.ark:12\n",
    "segments": "u1 r1 0 1.5\nu2 r1 1.5 3\nu3 r2 0 2\n",
    "utt2spk": "u1 s1\nu2 s1\nu3 s2\n",
    "spk2utt": "s1 u1 u2\ns2 u3\n",
    "utt2label": "u1 dog,cat\nu2 a b\nu3 dog\n",
    "utt2pitch": "u1 0\nu2 127\nu3 60\n",
    "utt2dur": "u1 1.5\nu2 1.5\nu3 2\n",
    "utt2num_samples": "u1 24000\nu2 24000\nu3 32000\n",
    "utt2fold": "u1 0\nu2 1\nu3 2\n",
    "feats.scp": "u1 f.ark:5\nu2 f.ark:99\nu3 f.ark:1000\n",
    "text": "u1 a b c\nu2\nu3 d\n",
    "utt2anything": "u1 x\nu2 y\nu3 z\n",
    "events.tsv": "utt_id\tonset\toffset\tlabel\nu1\t0.1\t0.2\tdog\nu1\t0.5\t9\tbig dog\nu3\t0\t1\tcat\n",
}


def test_a_good_directory(run, data_dir):
    data_dir("d", GOOD)
    done = run.utils("validate_data_dir.sh", "--require", "utt2spk,events.tsv", "d")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no faults, 3 utterances" in done.stdout


def test_wav_scp_alone_is_enough(run, data_dir):
    data_dir("d", {"wav.scp": "A /1\nZ /2\na /3\né /4\n鳥 /5\n"})
    assert run.utils("validate_data_dir.sh", "d").returncode == 0


FAULTS = [
    ("wav.scp", "r2 /x\nr1 /x\n", "wav.scp:2: not in C-locale order: r1 after r2"),
    ("wav.scp", "a /x\nZ /x\n", "wav.scp:2: not in C-locale order: Z after a"),
    ("wav.scp", "r1 /x\nr1 /y\nr2 /z\n", "wav.scp:2: the id r1 is repeated"),
    ("wav.scp", "r1 /x\nr2 /x\nr1 /y\n", "wav.scp:3: the id r1 is repeated"),
    ("wav.scp", "r1 /x\n\nr2 /x\n", "wav.scp:2: empty line"),
    ("wav.scp", "r1 /x\r\nr2 /x\n", "wav.scp:1: Windows line end (CRLF)"),
    ("wav.scp", "r1 /x\nr2 /x", "wav.scp:2: the last line has no newline"),
    ("wav.scp", "r1 /x\n r2 /x\n", "wav.scp:2: starts with a space"),
    ("wav.scp", "r1 /x \nr2 /x\n", "wav.scp:1: ends with a space"),
    ("wav.scp", "r1\nr2 /x\n", "wav.scp:1: no path after the id"),
    ("wav.scp", "r1 sox x |\nr2 /x\n", "wav.scp:1: a command"),
    ("wav.scp", b"r1 /\xff\nr2 /x\n", "wav.scp:1: not UTF-8 text"),
    ("wav.scp", b"r1 /\x00\nr2 /x\n", "wav.scp:1: contains a NUL byte"),
    ("wav.scp", "\ufeffr1 /x\n", "wav.scp:1: starts with a byte order mark"),
    ("wav.scp", "r\u3000 /x\n", "wav.scp:1: the id 'r\\u3000' contains a non-ASCII space"),
    ("wav.scp", "", "wav.scp: the file is empty"),
    ("wav.scp", "r1 /x\nr2 /x\nr3 /x\n", "wav.scp: recordings without segments: r3"),
    ("segments", "u1 r1 0\n", "segments:1: 3 columns where 4 are expected"),
    ("segments", "u1 r1 2 1\n", "segments:1: needs 0 <= start < end"),
    ("segments", "u1 r1 0 nan\n", "segments:1: start and end must be numbers"),
    ("segments", "u1 r9 0 1\n", "segments:1: the recording r9 is not in wav.scp"),
    ("utt2spk", "u1 s1 x\nu2 s1\nu3 s2\n", "utt2spk:1: 3 columns"),
    ("utt2spk", "u1 s1\nu2 s1\n", "utt2spk: no line for 1 utterances: u3"),
    ("utt2spk", "u1 s1\nu2 s1\nu3 s2\nu4 s3\n", "utt2spk:4: u4 is not an utterance"),
    ("spk2utt", "s1 u1\ns2 u2 u3\n", "spk2utt:2: utt2spk does not give u2 to s2"),
    ("spk2utt", "s1 u1 u2\n", "spk2utt: utterances of utt2spk are missing: u3"),
    ("utt2label", "u1 dog,,cat\nu2 a\nu3 b\n", "utt2label:1: labels are separated by"),
    ("utt2label", "u1 dog,dog\nu2 a\nu3 b\n", "utt2label:1: a label is given twice"),
    ("utt2pitch", "u1 128\nu2 1\nu3 1\n", "utt2pitch:1: the pitch must be a MIDI note number"),
    ("utt2dur", "u1 1\nu2 0\nu3 inf\n", "utt2dur:2: the duration"),
    ("utt2dur", "u1 1\nu2 1\nu3 inf\n", "utt2dur:3: the duration"),
    ("utt2dur", "u1 1\nu2 1_0\nu3 1\n", "utt2dur:2: the duration"),
    ("utt2num_samples", "u1 1\nu2 1.5\nu3 1\n", "utt2num_samples:2: the number of samples"),
    ("utt2fold", "u1 -1\nu2 1\nu3 1\n", "utt2fold:1: the fold"),
    ("feats.scp", "u1 f.ark\nu2 f.ark:1\nu3 f.ark:2\n", "feats.scp:1: the value is not"),
    ("events.tsv", "u1\t0\t1\tdog\n", "events.tsv:1: the header must be"),
    ("events.tsv", "utt_id\tonset\toffset\tlabel\nu1\t0\tdog\n", "events.tsv:2: 3 columns"),
    (
        "events.tsv",
        "utt_id\tonset\toffset\tlabel\nu1\t1\t1\tdog\n",
        "events.tsv:2: needs 0 <= onset < offset",
    ),
    (
        "events.tsv",
        "utt_id\tonset\toffset\tlabel\nu1\t1.5\t2\td\n",
        "events.tsv:2: the event starts",
    ),
    ("events.tsv", "utt_id\tonset\toffset\tlabel\nu9\t0\t1\td\n", "events.tsv:2: u9 is not an"),
    (
        "events.tsv",
        "utt_id\tonset\toffset\tlabel\nu3\t0\t1\td\nu1\t0\t1\td\n",
        "events.tsv:3: not in",
    ),
    ("events.tsv", "utt_id\tonset\toffset\tlabel\r\n", "events.tsv:1: Windows line end"),
]


@pytest.mark.parametrize("name, content, reported", FAULTS)
def test_every_fault_is_told_with_file_and_line(run, data_dir, name, content, reported):
    data_dir("d", {**GOOD, name: content})
    done = run.utils("validate_data_dir.sh", "d")
    assert done.returncode == 1
    assert f"d/{reported}" in done.stderr
    assert done.stdout == ""


def test_all_faulty_files_in_one_run_and_long_lists_are_counted(run, data_dir):
    data_dir("d", {"wav.scp": "a /x\n" * 30, "utt2pitch": "a 1\nb x\n"})
    done = run.utils("validate_data_dir.sh", "d")
    assert done.returncode == 1
    assert "d/wav.scp: and 19 more" in done.stderr
    assert "d/utt2pitch:2:" in done.stderr


def test_required_and_skipped_files(run, data_dir):
    data_dir("d", {"wav.scp": "a /x\n", "feats.scp": "broken\n", "text": "b x\n"})
    assert run.utils("validate_data_dir.sh", "d").returncode == 1
    assert run.utils("validate_data_dir.sh", "--no-feats", "--no-text", "d").returncode == 0
    done = run.utils("validate_data_dir.sh", "--no-feats", "--no-text", "--require", "utt2spk", "d")
    assert (done.returncode, "d/utt2spk: the file is missing" in done.stderr) == (1, True)


def test_without_wav(run, data_dir):
    data_dir("d", {"utt2label": "a x\nb y\n", "utt2fold": "a 1\nb 2\n"})
    assert "wav.scp: the file is missing" in run.utils("validate_data_dir.sh", "d").stderr
    assert run.utils("validate_data_dir.sh", "--no-wav", "d").returncode == 0


def test_check_audio(run, data_dir):
    folder = data_dir("d", {"x.ark": "", "a b.wav": ""})
    wavs = f"a {folder}/a b.wav\nb {folder}/x.ark:7\nc {folder}/gone.wav\n"
    data_dir("d", {"wav.scp": wavs})
    assert run.utils("validate_data_dir.sh", "d").returncode == 0
    done = run.utils("validate_data_dir.sh", "--check-audio", "d")
    assert (done.returncode, done.stderr.count("no such audio file")) == (1, 1)
    assert "d/wav.scp:3:" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["none"], ["--bad", "d"], ["a", "b"]])
def test_bad_usage(run, arguments):
    done = run.utils("validate_data_dir.sh", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_hundred_thousand_lines(run, data_dir):
    ids = [f"u{i:06d}" for i in range(100_000)]
    wavs, speakers = (f"{u} /{u}\n" for u in ids), (f"{u} s\n" for u in ids)
    data_dir("d", {"wav.scp": "".join(wavs), "utt2spk": "".join(speakers)})
    assert "100000 utterances" in run.utils("validate_data_dir.sh", "d").stdout
