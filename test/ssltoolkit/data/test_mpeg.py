"""MPEG audio: complete files are read, whatever follows their frames; files cut off within a frame are reported."""

import io

import numpy as np
import pytest
import soundfile

from ssltoolkit.data.audio import read_audio
from ssltoolkit.data.containers import cut_off
from ssltoolkit.data.mpeg import _frame_length
from ssltoolkit.errors import DataError

pytestmark = pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="this libsndfile cannot write MP3")

APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (32 + 50).to_bytes(4, "little") + (1).to_bytes(4, "little")
TAGS = {
    "none": b"",
    "ID3v1": b"TAG" + b"a" * 125,
    "ID3v1 extended": b"TAG+" + b"b" * 223 + b"TAG" + b"a" * 125,
    "APE without a header": b"x" * 50 + APE + bytes(4) + bytes(8),
    "APE with a header, ID3v1": APE
    + b"\0\0\0\xa0"
    + bytes(8)
    + b"x" * 50
    + APE
    + b"\0\0\0\x80"
    + bytes(8)
    + b"TAG"
    + b"a" * 125,
    "Lyrics3": b"LYRICSBEGIN" + b"la" * 20 + b"000051LYRICS200" + b"TAG" + b"a" * 125,
    "ID3v2.4": b"ID3\4\0\x10\0\0\0\x14" + b"y" * 20 + b"3DI\4\0\x10\0\0\0\x14",
    "zeros": bytes(700),
    "something": b"written by a program of 1999" * 9,
}


def mp3(rate, channels, mode="CONSTANT", level=0.5, seconds=1.0):
    """Return the frames of an MP3 file as a list of bytes, without the frame of the Xing or Info header."""
    noise = 0.1 * np.random.default_rng(rate + channels).normal(size=(int(seconds * rate), channels))
    stream = io.BytesIO()
    soundfile.write(
        stream, noise, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode, compression_level=level
    )
    data, frames = stream.getvalue(), []
    while data:
        length = _frame_length(data[:4])
        assert length is not None and length <= len(data)
        frames.append(data[:length])
        data = data[length:]
    return frames[1:] if b"Info" in frames[0] or b"Xing" in frames[0] else frames


@pytest.fixture
def check(tmp_path):
    """check(data): write these bytes to a file and return what ``cut_off`` reports, or None."""

    def call(data):
        (tmp_path / "a.mp3").write_bytes(data)
        return cut_off(str(tmp_path / "a.mp3"))

    return call


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize(
    "mode, level", [("CONSTANT", 0.0), ("CONSTANT", 0.5), ("CONSTANT", 0.9), ("VARIABLE", 0.3), ("AVERAGE", 0.6)]
)
def test_frames_of_every_kind(check, tmp_path, rate, channels, mode, level):
    frames = mp3(rate, channels, mode, level)
    assert len(frames) > 8 and check(b"".join(frames)) is None
    samples, found = read_audio(tmp_path / "a.mp3")
    assert found == rate and len(samples) > 0.9 * rate
    for size in (2, 3, 4, 20, len(frames[-1]) - 1):
        reason = check(b"".join(frames[:-1]) + frames[-1][:size])
        assert reason.startswith(f"truncated: its last MPEG frame has {size} ")
    with pytest.raises(DataError, match="a.mp3: truncated: its last MPEG frame has"):
        read_audio(tmp_path / "a.mp3")


@pytest.mark.parametrize("name", TAGS)
@pytest.mark.parametrize("before", [b"", b"ID3\3\0\0\0\0\1\1" + b"\xff\xfb" * 64 + b"z" + bytes(300)])
def test_tags_are_no_frames(check, name, before):
    frames = mp3(44100, 2)
    assert check(before + b"".join(frames) + TAGS[name]) is None
    if name not in ("zeros", "something"):
        assert "has 100 of " in check(before + b"".join(frames[:-1]) + frames[-1][:100] + TAGS[name])


@pytest.mark.parametrize("rate, channels", [(8000, 1), (16000, 2), (44100, 1), (48000, 2)])
def test_of_a_changing_bit_rate_nothing_is_lost(check, tmp_path, rate, channels):
    """Without a stated number of frames the decoder estimates it, and would read 0.35 to 0.99 of such files."""
    frames = mp3(rate, channels, "VARIABLE", 0.3)
    samples = (1152 if rate >= 32000 else 576) * len(frames)
    for behind in (b"", TAGS["APE with a header, ID3v1"]):
        assert check(b"".join(frames) + behind) is None
        found, _ = read_audio(tmp_path / "a.mp3")
        assert samples - 1152 < len(found) <= samples
    stretch, _ = read_audio(tmp_path / "a.mp3", 0.7, 0.9)
    assert len(stretch) == round(0.9 * rate) - round(0.7 * rate)
    np.testing.assert_allclose(stretch, found[round(0.7 * rate) : round(0.9 * rate)], atol=1e-3)


def test_a_stated_length_stays_good(check, tmp_path):
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(44100), 44100, format="MP3", subtype="MPEG_LAYER_III")
    assert check(stream.getvalue()) is None and len(read_audio(tmp_path / "a.mp3")[0]) == 44100


@pytest.mark.parametrize("length", [0, 1, 3, 4, 9, 10, 200])
def test_too_little_to_tell(check, length):
    frames = mp3(44100, 1)
    assert length < len(frames[0]) and check(b"".join(frames)[:length]) is None
    assert check(b"ID3" + b"\xff" * length) is None


def test_layers_one_and_two():
    # Lengths by ISO 11172-3: 12 x 384000 / 48000 slots of 4 bytes; 144 x 192000 / 44100 and one byte of padding.
    assert _frame_length(b"\xff\xff\xc4\0") == 384 and _frame_length(b"\xff\xfd\xa2\0") == 627
    assert all(
        _frame_length(head) is None
        for head in (b"\xff\xfb\x00\0", b"\xff\xfb\xf0\0", b"\xff\xeb\x90\0", b"\xff\xfb\x9c\0", b"\xff\xf9\x90\0")
    )
