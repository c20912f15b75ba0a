"""Faults of audio and tables: used, or listed in ``bad_utts.txt`` and left out, or refused in one line, status 2."""

import os
import struct

import numpy as np
import pytest
import soundfile

from ssltoolkit import command_line
from ssltoolkit.bin import embed, format
from ssltoolkit.data.archive import WaveArchive

pytestmark = pytest.mark.usefixtures("deadline")

RATE = 16000
NOISE = 0.3 * np.random.default_rng(0).uniform(-1.0, 1.0, RATE)


def audio(samples=NOISE, rate=RATE, extension="wav", cut=1.0, named=None, **options):
    """Return a function that writes this audio, of which the share ``cut`` is kept."""

    def inject(folder):
        path = folder / f"bad.{extension}"
        soundfile.write(path, samples, rate, **options)
        data = path.read_bytes()
        path.write_bytes(data[: int(cut * len(data))])
        return path.rename(folder / named) if named else path

    return inject


def content(data, name="bad.wav"):
    """Return a function that writes these bytes."""

    def inject(folder):
        (folder / name).write_bytes(data)
        return folder / name

    return inject


def header(rate=RATE, size=64000, data=b"\x01\x00" * RATE):
    return (
        b"RIFF"
        + struct.pack("<I", min(36 + size, 0xFFFFFFFF))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
        + b"data"
        + struct.pack("<I", size)
        + data
    )


def fifo(folder):
    os.mkfifo(folder / "bad.wav")
    return folder / "bad.wav"


def subfolder(folder):
    (folder / "bad.wav").mkdir()
    return folder / "bad.wav"


def mp3_without_length(cut):
    """Return a function that writes an mp3 file without its first frame, which states the number of frames; ``cut``
    bytes of the last frame are missing.
    """

    def inject(folder):
        path = folder / "bad.mp3"
        soundfile.write(path, NOISE, RATE, bitrate_mode="CONSTANT", compression_level=0.5)
        data = path.read_bytes()
        path.write_bytes(data[data.index(data[:2], 4) : len(data) - cut])
        return path

    return inject


USED, LISTED, REFUSED = "used", "listed", "refused"
EIGHT = np.stack([NOISE] * 8, axis=1)
NAN, INF = NOISE.copy(), NOISE.copy()
NAN[500], INF[500] = np.nan, np.inf

#: fault -> function that writes it and returns the path for wav.scp, outcome, message
AUDIO = {
    "wav cut off": (audio(cut=0.6), LISTED, "truncated: 19226 bytes, its header states 32044"),
    "wav cut off by one byte": (audio(cut=0.99998), LISTED, "truncated"),
    "wav of unknown size": (content(header(size=0xFFFFFFFF)), USED, ""),
    "wav cut off in its header": (content(header()[:30]), LISTED, "cannot be read as audio"),
    "big-endian wav cut off": (audio(cut=0.6, endian="BIG"), LISTED, "truncated"),
    "rf64 cut off": (audio(extension="rf64", cut=0.6), LISTED, "truncated"),
    "w64 cut off": (audio(extension="w64", cut=0.6), LISTED, "truncated"),
    "aiff cut off": (audio(extension="aiff", cut=0.6), LISTED, "truncated"),
    "au cut off": (audio(extension="au", cut=0.6), LISTED, "truncated"),
    "caf cut off": (audio(extension="caf", cut=0.99), LISTED, "truncated"),
    "flac cut off": (audio(extension="flac", cut=0.6), LISTED, "cannot be read as audio"),
    "ogg cut off": (audio(extension="ogg", cut=0.6), LISTED, "truncated: its last Ogg page is incomplete"),
    "mp3 without a stated length": (mp3_without_length(0), USED, ""),
    "mp3 without a stated length cut off": (mp3_without_length(30), LISTED, "truncated: its last MPEG frame has"),
    "mp3 cut off": (audio(extension="mp3", cut=0.5), LISTED, "truncated"),
    "empty": (content(b""), LISTED, "cannot be read as audio"),
    "garbage": (content(np.random.default_rng(1).bytes(5000)), LISTED, "cannot be read as audio"),
    "text": (content(b"not found\n" * 40, "bad.flac"), LISTED, "cannot be read as audio"),
    "NaN": (audio(NAN, subtype="FLOAT"), LISTED, "NaN or infinite"),
    "infinite": (audio(INF, subtype="FLOAT"), LISTED, "NaN or infinite"),
    "no samples": (audio(NOISE[:0]), LISTED, "no samples"),
    "one sample": (audio(NOISE[:1]), USED, ""),
    "8 channels": (audio(EIGHT), USED, ""),
    "192 kHz": (audio(rate=192000), USED, ""),
    "1 Hz": (content(header(rate=1)), LISTED, "truncated"),
    "1 Hz, whole": (content(header(rate=1, size=2 * RATE)), LISTED, "a sample rate of 1 Hz"),
    "silence": (audio(0 * NOISE), USED, ""),
    "direct current": (audio(0 * NOISE + 0.7), USED, ""),
    "clipped": (audio(np.clip(9 * NOISE, -1, 1)), USED, ""),
    "wrong extension": (audio(extension="flac", named="bad.wav"), USED, ""),
    "no extension": (audio(extension="ogg", named="bad"), USED, ""),
    "named pipe": (fifo, LISTED, "not a file"),
    "folder": (subfolder, LISTED, "not a file"),
    "device": (lambda folder: "/dev/zero", LISTED, "not a file"),
    "nothing there": (lambda folder: folder / "none.wav", LISTED, "no such file"),
    "below a file": (lambda folder: folder / "utt00.wav" / "a.wav", LISTED, "no such file"),
    "name too long": (lambda folder: folder / ("x" * 300), LISTED, "File name too long"),
    "command": (lambda folder: f"touch {folder}/executed |", LISTED, "is a command and was not run"),
}


@pytest.fixture
def formatted(write_data, make_waves, tmp_path, capsys):
    """formatted(change): change five good files and run stage 2; returns status, output and bad_utts.txt."""
    data = write_data("raw", make_waves(5, seconds=0.6))

    def call(change, *options):
        change(data)
        status = command_line.run(
            format.main, ["--data_dir", str(data), "--out_dir", str(tmp_path / "out"), "--max_bad", "0.2", *options]
        )
        bad = tmp_path / "out/bad_utts.txt"
        return status, capsys.readouterr(), bad.read_text() if bad.is_file() else ""

    return call


@pytest.mark.parametrize("fault", AUDIO)
def test_audio(formatted, tmp_path, fault):
    inject, outcome, reported = AUDIO[fault]

    def change(data):
        place = inject(data / "audio")
        with open(data / "wav.scp", "a") as scp:
            scp.write(f"utt99 {place}\n")

    try:
        status, _, bad = formatted(change)
    except (soundfile.SoundFileError, ValueError):
        pytest.skip("this libsndfile does not write that format")
    assert status == 0
    utts = WaveArchive(tmp_path / "out").utt_ids
    assert len(utts) == (6 if outcome == USED else 5)
    if outcome == LISTED:
        assert bad.startswith("utt99\t") and bad.count("\n") == 1 and reported in bad, bad
    assert not list(tmp_path.rglob("executed"))


def test_no_permission(formatted, tmp_path, monkeypatch):
    import ssltoolkit.data.audio

    def refusing(path, mode="r"):
        if "utt03" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, mode)

    monkeypatch.setattr(ssltoolkit.data.audio, "open", refusing, raising=False)
    status, _, bad = formatted(lambda data: None)
    assert status == 0 and "utt03\t" in bad and "Permission denied" in bad


def test_too_many_bad_files(formatted):
    def change(data):
        for number in (1, 3):
            (data / f"audio/utt0{number}.wav").write_bytes(b"")

    status, said, bad = formatted(change)
    assert status == 2 and bad.count("\n") == 2
    assert "2 of 5 utterances are unusable, more than the 1 that --max_bad 0.2 allows" in said.err


def rewrite(name, change):
    """Return a function that changes a table of the directory."""

    def inject(data):
        path = data / name
        path.write_bytes(change(path.read_bytes() if path.is_file() else b"", data))

    return inject


#: fault -> function that writes it, outcome, message
TABLES = {
    "CRLF": (
        rewrite("wav.scp", lambda text, data: text.replace(b"\n", b"\r\n")),
        REFUSED,
        "wav.scp:1: line ends in CRLF",
    ),
    "id twice": (rewrite("wav.scp", lambda text, data: text + text), REFUSED, "id 'utt00' appears twice"),
    "space in an id": (
        rewrite("wav.scp", lambda text, data: text.replace(b"utt04", b"utt 04", 1)),
        LISTED,
        "no such file",
    ),
    "non-ASCII id": (rewrite("wav.scp", lambda text, data: text.replace(b"utt04", "ütt04".encode(), 1)), USED, ""),
    "not UTF-8": (
        rewrite("wav.scp", lambda text, data: text.replace(b"utt04", b"\xfftt04", 1)),
        REFUSED,
        "not UTF-8 text",
    ),
    "id without a value": (
        rewrite("wav.scp", lambda text, data: text + b"utt99\n"),
        REFUSED,
        "wav.scp:6: expected 'id value'",
    ),
    "empty line": (rewrite("wav.scp", lambda text, data: text + b"\n"), REFUSED, "wav.scp:6: empty line"),
    "empty table": (rewrite("wav.scp", lambda text, data: b""), REFUSED, "no utterances"),
    "segment past the end": (
        rewrite("segments", lambda text, data: b"s1 utt00 0 0.5\ns2 utt01 0.1 5\ns3 utt01 0 -1\n"),
        LISTED,
        "ends at 0.600 s",
    ),
    "segment of nothing": (
        rewrite("segments", lambda text, data: b"s1 utt09 0 1\n"),
        REFUSED,
        "'utt09' is not in wav.scp",
    ),
    "segment backwards": (
        rewrite("segments", lambda text, data: b"s1 utt00 1 0.5\n"),
        REFUSED,
        "needs 0 <= start < end",
    ),
    "segment without numbers": (
        rewrite("segments", lambda text, data: b"s1 utt00 a nan\n"),
        REFUSED,
        "must be numbers",
    ),
    "zero byte in a path": (
        rewrite("wav.scp", lambda text, data: text.replace(b"utt01.wav", b"utt\0.wav")),
        REFUSED,
        "wav.scp:2: contains a NUL byte",
    ),
    "CRLF segments": (
        rewrite("segments", lambda text, data: b"s1 utt00 0 0.5\r\n"),
        REFUSED,
        "segments:1: line ends in CRLF",
    ),
    "CRLF labels": (rewrite("utt2label", lambda text, data: b"utt00 a\r\n"), REFUSED, "utt2label:1: line ends in CRLF"),
    "events of nobody": (
        rewrite("events.tsv", lambda text, data: b"utt_id\tonset\toffset\tlabel\nx\t0\t1\ta\n"),
        REFUSED,
        "'x' is not in this data directory",
    ),
    "event backwards": (
        rewrite("events.tsv", lambda text, data: b"utt_id\tonset\toffset\tlabel\nutt00\t1\t0\ta\n"),
        REFUSED,
        "needs 0 <= onset < offset",
    ),
}


@pytest.mark.parametrize("fault", TABLES)
def test_tables(formatted, fault):
    inject, outcome, reported = TABLES[fault]
    status, said, bad = formatted(inject)
    assert status == (2 if outcome == REFUSED else 0), said.err
    assert reported in (said.err if outcome == REFUSED else bad)
    if outcome == REFUSED:
        assert sum("error:" in line for line in said.err.splitlines()) == 1


def test_files_given_to_embed(tiny_yaml, tmp_path, capsys):
    for fault, (inject, outcome, _) in AUDIO.items():
        folder = tmp_path / fault.replace(" ", "-").replace("\0", "")
        folder.mkdir()
        soundfile.write(folder / "utt00.wav", NOISE, RATE)
        try:
            place = inject(folder)
        except (soundfile.SoundFileError, ValueError):
            continue
        if "\0" in str(place) or fault == "one sample":
            continue
        arguments = [
            "--model",
            "baseline:logmel",
            "--config",
            str(tiny_yaml),
            "--device",
            "cpu",
            "-o",
            str(tmp_path / "out.npz"),
            str(place),
        ]
        status = command_line.run(embed.main, arguments)
        error = capsys.readouterr().err
        assert status == (0 if outcome == USED else 2) and "Traceback" not in error, (fault, error)
    assert not list(tmp_path.rglob("executed"))
