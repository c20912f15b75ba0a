"""data/audio.py: any format, rate and channel count; errors name what is wrong with a broken file."""

import os
import struct

import numpy as np
import pytest
import soundfile

from ssltoolkit.data.audio import EXTENSIONS, duration, read_audio, resample, to_int16
from ssltoolkit.errors import DataError

RATES = (8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000)


def tone(rate, seconds=0.5, hz=440.0, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)
    return np.stack([wave * (k + 1) / channels for k in range(channels)], axis=1)


def write(path, samples, rate, subtype=None):
    try:
        soundfile.write(path, samples, rate, subtype=subtype)
    except (soundfile.SoundFileError, ValueError):
        pytest.skip(f"this libsndfile does not write {path.suffix} at {rate} Hz with {samples.shape[-1]} channel(s)")
    return path


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_formats_rates_and_channels(tmp_path, extension, rate, channels):
    samples = tone(rate, channels=channels)
    read, got = read_audio(write(tmp_path / f"a.{extension}", samples, rate))
    assert got == rate and read.dtype == np.float32 and read.ndim == 1
    assert len(read) == len(samples)
    lossless = extension in ("wav", "flac")
    middle = slice(len(samples) // 4, -len(samples) // 4)
    assert np.abs(read - samples.mean(1))[middle].max() < (1e-4 if lossless else 0.05)
    spectrum = np.abs(np.fft.rfft(resample(read, rate, 16000)[1600:5600] * np.hanning(4000)))
    assert spectrum.argmax() * 4.0 == pytest.approx(440.0, abs=4.0)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "MS_ADPCM"])
def test_wave_codings(tmp_path, subtype):
    samples = tone(16000)
    read, _ = read_audio(write(tmp_path / "a.wav", samples, 16000, subtype))
    assert np.abs(read[:8000] - samples[:, 0]).max() < 0.03


@pytest.mark.parametrize(
    "ending, form", [("mpga", "MP3"), ("snd", "AU"), ("sph", "NIST"), ("voc", "VOC"), ("w64", "W64"), ("aifc", "AIFF")]
)
def test_endings_that_say_little(tmp_path, ending, form):
    if form not in soundfile.available_formats():
        pytest.skip(f"this libsndfile does not write {form}")
    soundfile.write(tmp_path / f"a.{ending}", tone(16000), 16000, format=form)
    assert f".{ending}" in EXTENSIONS and len(read_audio(tmp_path / f"a.{ending}")[0]) == 8000


def test_layer_ii(tmp_path):
    """Two seconds of mp2: a frame without any allocated sample is silence (ISO 11172-3, 2.4.1.6)."""
    frame = bytes((0xFF, 0xFD, 0x84, 0xC0)) + bytes(380)  # layer II, 128 kbit/s, 48 kHz, mono: 384 bytes, 1152 samples
    (tmp_path / "a.mp2").write_bytes(83 * frame)
    samples, rate = read_audio(tmp_path / "a.mp2")
    assert rate == 48000 and abs(len(samples) - 83 * 1152) <= 1152 and not samples.any() and ".mp2" in EXTENSIONS
    (tmp_path / "a.mp2").write_bytes(83 * frame + frame[:100])
    with pytest.raises(DataError, match="its last MPEG frame has 100 of 384 bytes"):
        read_audio(tmp_path / "a.mp2")


def test_a_stretch_of_a_file(tmp_path):
    samples = tone(16000, 1.0)
    path = write(tmp_path / "a.wav", samples, 16000, "FLOAT")
    read, _ = read_audio(path, 0.25, 0.5)
    np.testing.assert_allclose(read, samples[4000:8000, 0], atol=1e-7)
    assert len(read_audio(path, 0.75)[0]) == 4000
    assert len(read_audio(path, 0.75, 1.4)[0]) == 4000
    with pytest.raises(DataError, match="ends at 1.000 s, the segment at 9 s"):
        read_audio(path, 0.75, 9.0)
    with pytest.raises(DataError, match="no samples between 2.0 and 3.0 s"):
        read_audio(path, 2.0, 3.0)


@pytest.mark.parametrize("rate", RATES)
def test_one_sample_stays_one_sample(tmp_path, rate):
    read, _ = read_audio(write(tmp_path / "a.wav", np.full((1, 1), 0.25), rate, "FLOAT"))
    assert read.tolist() == [0.25]
    assert len(resample(read, rate, 16000)) >= 1


@pytest.mark.parametrize(
    "content, part",
    [
        (b"", "cannot be read as audio"),
        (os.urandom(4000), "cannot be read as audio"),
        (b"RIFF\x00\x00\x00\x00WAVE", "cannot be read as audio"),
        (b"this is text, not audio\n" * 50, "cannot be read as audio"),
    ],
)
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_garbage(tmp_path, extension, content, part):
    path = tmp_path / f"a.{extension}"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"{path}: {part}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("share", [0.005, 0.3, 0.9])
def test_truncated_files_are_refused_or_give_a_true_beginning(tmp_path, extension, share):
    whole = np.random.default_rng(0).uniform(-0.5, 0.5, (32000, 1))
    path = write(tmp_path / f"a.{extension}", whole, 16000)
    expected, _ = read_audio(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    try:
        read, rate = read_audio(path)
    except DataError as error:
        assert str(path) in str(error)
        return
    assert rate == 16000 and 0 < len(read) <= share * len(whole) + 3000
    kept = len(read) - 3000  # at the cut, a lossy stream may be decoded without the next frames
    np.testing.assert_allclose(read[: max(kept, 0)], expected[: max(kept, 0)], atol=1e-3)


def test_empty_and_not_finite(tmp_path):
    path = write(tmp_path / "none.wav", np.zeros((0, 1)), 16000)
    with pytest.raises(DataError, match="no samples"):
        read_audio(path)
    for bad in (np.nan, np.inf, -np.inf):
        samples = tone(16000)
        samples[77] = bad
        path = write(tmp_path / "bad.wav", samples, 16000, "FLOAT")
        with pytest.raises(DataError, match="NaN or infinite"):
            read_audio(path)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(DataError, match="not a file"):
        read_audio(tmp_path)


def test_int16_is_rounded_and_clipped():
    assert to_int16(np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.6 / 32768])).tolist() == [0, 32767, -32768, 32767, -32768, 1]


def test_16_bit_files_come_back_bit_for_bit(tmp_path):
    samples = np.arange(-32768, 32768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    np.testing.assert_array_equal(to_int16(read_audio(tmp_path / "a.wav")[0]), samples)


@pytest.mark.skipif(
    "SSLTOOLKIT_REAL_AUDIO" not in os.environ, reason="set SSLTOOLKIT_REAL_AUDIO to a folder of audio files"
)
def test_real_audio_reads_or_says_why():
    from ssltoolkit.data.scan import find_audio

    for path in list(find_audio(os.environ["SSLTOOLKIT_REAL_AUDIO"]).values())[:500]:
        try:
            samples, rate = read_audio(path)
        except DataError as error:
            assert str(path) in str(error)
            continue
        assert np.isfinite(resample(samples, rate, 16000)).all()


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32", "IMA_ADPCM"])
def test_codings_that_cannot_be_sought_in(tmp_path, subtype):
    """GSM 6.10, G.721 and NMS ADPCM can only be decoded from the start; a segment equals that of the whole file."""
    path = write(tmp_path / "a.wav", tone(8000, 2.0)[:, 0], 8000, subtype)
    whole, rate = read_audio(path)
    assert rate == 8000 and abs(len(whole) - 16000) <= 512 and 0.3 < np.abs(whole).max() < 0.8
    np.testing.assert_array_equal(read_audio(path, 0.5, 1.25)[0], whole[4000:10000])
    np.testing.assert_array_equal(read_audio(path, 1.5)[0], whole[12000:])
    assert duration(path) == pytest.approx(2.0, abs=0.07)


def apple_double(fork=b""):
    """The file that macOS stores beside a file on a foreign disk (RFC 1740): Finder information and a resource fork."""
    head = struct.pack(">II16sH", 0x51607, 0x20000, b"Mac OS X        ", 2) + struct.pack(
        ">6I", 9, 50, 32, 2, 82, len(fork)
    )
    return head + bytes(32) + fork


FORK = (
    struct.pack(">4I", 256, 256, 0, 30)
    + bytes(240)
    + struct.pack(">4I", 256, 256, 0, 30)
    + bytes(8)
    + struct.pack(">HH", 28, 30)
    + b"\xff\xff"
)


@pytest.mark.parametrize("companion", ["._a{}", ".AppleDouble/a{}"])
@pytest.mark.parametrize("ending", [".mp3", ".wav", ".flac"])
def test_a_companion_of_a_mac_does_not_hide_its_file(tmp_path, ending, companion):
    path = write(tmp_path / f"a{ending}", tone(16000), 16000)
    alone = read_audio(path)[0]
    beside = tmp_path / companion.format(ending)
    beside.parent.mkdir(exist_ok=True)
    beside.write_bytes(apple_double(FORK))
    np.testing.assert_array_equal(read_audio(path)[0], alone)
    with pytest.raises(DataError, match="a macOS system file without audio"):
        read_audio(beside)


@pytest.mark.parametrize("peak", [1.5, 16000.0])
def test_float_samples_beyond_full_scale_are_levelled(tmp_path, peak):
    """int16 values stored as float keep their waveform; every segment of a file has the same level."""
    samples = tone(16000, 1.0)[:, 0] * 2
    samples[:8000] *= 0.25
    path, plain = (
        write(tmp_path / "a.wav", samples * peak, 16000, "FLOAT"),
        write(tmp_path / "b.wav", samples, 16000, "FLOAT"),
    )
    notes = []
    read, _ = read_audio(path, notes=notes)
    np.testing.assert_allclose(read, read_audio(plain)[0], atol=1e-5)
    assert notes == [f"levelled to full scale, its peak is {peak:.6g} times that"]
    np.testing.assert_array_equal(read_audio(path, 0.25, 0.5)[0], read[4000:8000])
    notes.clear()
    read_audio(plain, notes=notes)
    assert notes == []


def test_lossy_audio_a_little_beyond_full_scale_is_cut_as_players_do(tmp_path):
    path = write(tmp_path / "a.ogg", np.sign(tone(16000, 1.0)), 16000)
    notes = []
    assert soundfile.read(path)[0].max() > 1.05  # a square wave overshoots
    assert np.abs(read_audio(path, notes=notes)[0]).max() == 1.0 and notes == []


def headless(order, data, tail=b""):
    name, rate = (b"RIFF", 16000) if order == "<" else (b"RIFX", 16000)
    return (
        name
        + bytes(4)
        + b"WAVEfmt "
        + struct.pack(f"{order}IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
        + b"data"
        + bytes(4)
        + data
        + tail
    )


@pytest.mark.parametrize("form", ["RIFF", "RIFX", "AU"])
def test_a_header_that_states_no_audio_where_there_is_some(tmp_path, form):
    """A recorder that lost power leaves sizes of 0 in the header; the samples extend to the end of the file."""
    samples = (16000 * np.sin(np.arange(8000) * 0.1)).astype("<i2")
    data = samples.astype("<i2" if form == "RIFF" else ">i2").tobytes()
    content = (
        b".snd" + struct.pack(">5I", 24, 0, 3, 16000, 1) + data
        if form == "AU"
        else headless("<" if form == "RIFF" else ">", data)
    )
    path, notes = tmp_path / "a.wav", []
    path.write_bytes(content)
    np.testing.assert_array_equal(to_int16(read_audio(path, notes=notes)[0]), samples)
    assert (
        notes == [f"its header states 0 bytes of audio; read to the end of the file ({len(content)} bytes)"]
        and duration(path) == 0.5
    )
    np.testing.assert_array_equal(to_int16(read_audio(path, 0.1, 0.2)[0]), samples[1600:3200])


def test_a_header_that_states_no_audio_where_there_is_none(tmp_path):
    (tmp_path / "a.wav").write_bytes(headless("<", b"", b"LIST" + struct.pack("<I", 4) + b"INFO"))
    with pytest.raises(DataError, match="no samples: its header states 0"):
        read_audio(tmp_path / "a.wav")


OTHERS = {
    b"<!DOCTYPE html><html><body>404</body></html>": "an HTML page; its link gave a page",
    b"\xef\xbb\xbf\n<html>": "an HTML page",
    b'<?xml version="1.0"?><Error/>': "an XML text",
    b'{"message": "not found"}': "a JSON text",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "a Git LFS pointer",
    b"PK\x03\x04" + bytes(30): "a ZIP archive",
    b"\x89PNG\r\n\x1a\n" + bytes(30): "a PNG picture",
    b"\0\0\0\x20ftypM4A " + bytes(30): "an MPEG-4 file",
    b"": "an empty file",
    bytes(40000): "a file of zeros",
}


@pytest.mark.parametrize("content", OTHERS)
@pytest.mark.parametrize("ending", ["mp3", "wav"])
def test_what_is_no_audio_is_called_by_its_name(tmp_path, ending, content):
    (tmp_path / f"a.{ending}").write_bytes(content)
    with pytest.raises(DataError, match=f"a.{ending}: cannot be read as audio: it is {OTHERS[content]}"):
        read_audio(tmp_path / f"a.{ending}")
