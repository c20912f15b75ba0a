"""get_utt2dur.sh: durations from segments, audio headers and archives."""

import io
import wave

import pytest


def wav_bytes(seconds, rate=8000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(2 * int(seconds * rate)))
    return buffer.getvalue()


def test_from_files_and_archives(run, data_dir):
    first, second = b"a " + wav_bytes(0.5), b"b " + wav_bytes(2, 16000)
    folder = data_dir("d", {"x y.wav": wav_bytes(1.25), "w.ark": first + second})
    data_dir(
        "d",
        {"wav.scp": f"a {folder}/w.ark:2\nb {folder}/w.ark:{len(first) + 2}\nc {folder}/x y.wav\n"},
    )
    done = run.utils("get_utt2dur.sh", "--nj", "2", "d")
    assert done.returncode == 0, done.stderr
    assert (folder / "utt2dur").read_text() == "a 0.500000\nb 2.000000\nc 1.250000\n"
    assert "unchanged" in run.utils("get_utt2dur.sh", "d").stdout


def test_from_segments_without_audio(run, data_dir):
    folder = data_dir("d", {"wav.scp": "r /none\n", "segments": "u1 r 0.5 2\nu2 r 2 2.25\n"})
    assert run.utils("get_utt2dur.sh", "d").returncode == 0
    assert (folder / "utt2dur").read_text() == "u1 1.500000\nu2 0.250000\n"


def test_made_anew_when_utterances_changed_or_forced(run, data_dir):
    folder = data_dir("d", {"wav.scp": "r /n\n", "segments": "u r 0 2\n", "utt2dur": "v 1\n"})
    run.utils("get_utt2dur.sh", "d")
    assert (folder / "utt2dur").read_text() == "u 2.000000\n"
    data_dir("d", {"utt2dur": "u 1\n"})
    run.utils("get_utt2dur.sh", "--force", "d")
    assert (folder / "utt2dur").read_text() == "u 2.000000\n"


@pytest.mark.parametrize("content", [None, b"", b"RIFF broken", wav_bytes(0)])
def test_unreadable_audio_is_named(run, data_dir, content):
    folder = data_dir("d", {} if content is None else {"x.wav": content})
    data_dir("d", {"wav.scp": f"u {folder}/x.wav\n"})
    done = run.utils("get_utt2dur.sh", "d")
    assert done.returncode == 2
    assert "d/wav.scp: u: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "utt2dur").exists()


def test_commands_are_not_run(run, data_dir, tmp_path):
    data_dir("d", {"wav.scp": "u touch pwned |\n"})
    assert run.utils("get_utt2dur.sh", "d").returncode == 2
    assert not (tmp_path / "pwned").exists()
