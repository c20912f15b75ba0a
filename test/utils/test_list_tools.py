"""split_scp.py, filter_scp.py, utt2spk_to_spk2utt.py, spk2utt_to_utt2spk.py."""

import pytest


def numbered(count):
    return "".join(f"u{i:06d} /audio/{i}.wav\n" for i in range(count))


@pytest.mark.parametrize("count, parts", [(10, 3), (3, 3), (100_000, 7), (1, 1)])
def test_split_is_complete_in_order_and_even(run, tmp_path, count, parts):
    (tmp_path / "in").write_text(numbered(count))
    names = [f"out{i}" for i in range(parts)]
    done = run.utils("split_scp.py", "in", *names)
    assert done.returncode == 0, done.stderr
    pieces = [(tmp_path / name).read_text() for name in names]
    assert "".join(pieces) == numbered(count)
    sizes = [piece.count("\n") for piece in pieces]
    assert max(sizes) - min(sizes) <= 1


def test_split_one_part_equals_the_file_of_all(run, tmp_path):
    (tmp_path / "in").write_text(numbered(10))
    run.utils("split_scp.py", "in", "a", "b", "c")
    assert run.utils("split_scp.py", "-j", "3", "1", "in").stdout == (tmp_path / "b").read_text()
    run.utils("split_scp.py", "--one-based", "-j", "3", "3", "in", "last")
    assert (tmp_path / "last").read_text() == (tmp_path / "c").read_text()


def test_split_keeps_speakers_together(run, tmp_path):
    speakers = [5, 1, 1, 8, 2, 3]
    lines = [(f"s{s}-{u}", f"s{s}") for s, n in enumerate(speakers) for u in range(n)]
    (tmp_path / "in").write_text("".join(f"{u} x\n" for u, _ in lines))
    (tmp_path / "utt2spk").write_text("".join(f"{u} {s}\n" for u, s in lines))
    done = run.utils("split_scp.py", "--utt2spk", "utt2spk", "in", "a", "b", "c")
    assert done.returncode == 0, done.stderr
    parts = [(tmp_path / name).read_text() for name in "abc"]
    assert "".join(parts) == (tmp_path / "in").read_text()
    owners = [{line.split("-")[0] for line in part.splitlines()} for part in parts]
    assert all(owners) and sum(map(len, owners)) == len(speakers)


@pytest.mark.parametrize(
    "content, arguments, reported",
    [
        ("a 1\n\nb 2\n", ["o1", "o2"], "in:2: empty line"),
        ("a 1\r\nb 2\r\n", ["o1", "o2"], "in:1: Windows line end"),
        ("a 1\nb 2", ["o1", "o2"], "in:2: the last line has no newline"),
        ("a 1\n", ["o1", "o2"], "in: 1 lines cannot fill 2 parts"),
        ("a 1\n", ["-j", "2"], "expected 2 arguments"),
    ],
)
def test_split_refuses(run, tmp_path, content, arguments, reported):
    (tmp_path / "in").write_bytes(content.encode())
    done = run.utils("split_scp.py", "in", *arguments)
    assert done.returncode == 2
    assert reported in done.stderr


def test_split_bad_part_numbers_and_missing_file(run, tmp_path):
    (tmp_path / "in").write_text(numbered(4))
    assert "J must be 0 to 1" in run.utils("split_scp.py", "-j", "2", "2", "in").stderr
    assert "J must be 1 to 2" in run.utils("split_scp.py", "--one-based", "-j", "2", "0", "in").stderr
    assert run.utils("split_scp.py", "none", "a").returncode == 2


def test_filter_and_exclude(run, tmp_path):
    (tmp_path / "ids").write_text("u000001 and more\nu000003\n")
    (tmp_path / "in").write_text(numbered(5))
    kept = run.utils("filter_scp.py", "ids", "in").stdout
    assert [line.split()[0] for line in kept.splitlines()] == ["u000001", "u000003"]
    others = run.utils("filter_scp.py", "--exclude", "ids", stdin=numbered(5)).stdout
    assert [line.split()[0] for line in others.splitlines()] == ["u000000", "u000002", "u000004"]


def test_filter_on_another_column(run, tmp_path):
    (tmp_path / "recs").write_text("rec2\n")
    segments = "a rec1 0 1\nb rec2 0 1\n"
    assert run.utils("filter_scp.py", "-f", "2", "recs", stdin=segments).stdout == "b rec2 0 1\n"
    assert run.utils("filter_scp.py", "-f", "9", "recs", stdin=segments).returncode == 2


def test_filter_with_ids_in_any_script_and_any_bytes(run, tmp_path):
    (tmp_path / "ids").write_bytes("é\n鳥\n".encode())
    done = run.utils("filter_scp.py", "ids", stdin="e 1\né 2\n鳥 3\n".encode(), text=False)
    assert done.stdout == "é 2\n鳥 3\n".encode()


def test_filter_refuses_an_empty_line(run, tmp_path):
    (tmp_path / "ids").write_text("a\n\n")
    done = run.utils("filter_scp.py", "ids", stdin="a 1\n")
    assert (done.returncode, "ids:2: empty line" in done.stderr) == (2, True)


def test_spk2utt_and_back(run):
    utt2spk = "Z1 s2\na1 s10\na2 s2\né s10\n"
    spk2utt = run.utils("utt2spk_to_spk2utt.py", stdin=utt2spk).stdout
    assert spk2utt == "s10 a1 é\ns2 Z1 a2\n"
    assert run.utils("spk2utt_to_utt2spk.py", stdin=spk2utt).stdout == utt2spk


@pytest.mark.parametrize(
    "name, content, reported",
    [
        ("utt2spk_to_spk2utt.py", "a s1\na s2\n", "-:2: the id a is repeated"),
        ("utt2spk_to_spk2utt.py", "a s1 s2\n", "3 columns"),
        ("utt2spk_to_spk2utt.py", "a\n", "1 columns"),
        ("spk2utt_to_utt2spk.py", "s1 a\ns2 a\n", "a belongs to both s1 and s2"),
        ("spk2utt_to_utt2spk.py", "s1\n", "no utterances"),
    ],
)
def test_speaker_lists_refuse(run, name, content, reported):
    done = run.utils(name, stdin=content)
    assert done.returncode == 2
    assert reported in done.stderr
