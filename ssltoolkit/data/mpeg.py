"""Frame parsing of MPEG audio files (mp3, mp2), to detect truncation and count frames.

The file need not state its length, but each frame states its own (ISO 11172-3, 2.4.2.3, and 13818-3), so the frames
form a chain from the first to the last byte, or to the tags at the end."""

# mutagen reads only tags and the first frames: it has no public frame reader and cannot detect truncation or count
# frames. Only the tables and the tag parsing below could come from there.

from __future__ import annotations

import io
import os
from typing import BinaryIO, Optional

#: bit rates in kbit/s by index 1 ... 14, of (MPEG 1, layer)
_RATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = (44100, 48000, 32000)
#: bytes after the first tag that are searched for the first frame
_SEARCHED = 4096


def incomplete_frame(stream: BinaryIO, size: int) -> Optional[str]:
    """Description of an incomplete last frame of an MPEG file; None if it is complete or the chain cannot be followed.

    A file truncated exactly between two frames is not detected.
    """
    end = _end_of_audio(stream, size)
    position = _first_frame(stream, end)
    if position is None:
        return None
    first = _read(stream, position, 4)
    while True:
        header = _read(stream, position, min(4, end - position))
        if len(header) < 4:
            cut = len(header) > 1 and header[:2] == first[:2]
            return f"its last MPEG frame has {len(header)} bytes" if cut else None
        length = _frame_length(header)
        if length is None or not _alike(header, first):
            return None  # something else between or behind the frames
        if position + length > end:
            return f"its last MPEG frame has {end - position} of {length} bytes"
        position += length


def with_stated_length(path: str) -> Optional[BinaryIO]:
    """An mp3 file of variable bit rate with a leading frame that states the number of frames; None if not needed.

    Without that number a decoder takes the bit rate of the first frame for that of all, and may end long before the
    file does.
    """
    with open(path, "rb") as stream:
        end = _end_of_audio(stream, os.path.getsize(path))
        start = _first_frame(stream, end)
        if start is None:
            return None
        first, position, count, rates = _read(stream, start, 4), start, 0, set()
        while position + 4 <= end:
            header = _read(stream, position, 4)
            length = _frame_length(header)
            if length is None or not _alike(header, first):
                return None
            rates.add(header[2] >> 4)
            position, count = position + length, count + 1
        if (
            len(rates) < 2
            or first[1] >> 1 & 3 != 1
            or any(name in _read(stream, start, 64) for name in (b"Xing", b"Info", b"VBRI"))
        ):
            return None
        return io.BytesIO(_stating(first, count) + _read(stream, start, end - start))


def _stating(first: bytes, count: int) -> bytes:
    """A Xing frame for the stream that begins with ``first``: a silent frame that states the number of frames."""
    mono, newer = first[3] >> 6 == 3, first[1] >> 3 & 3 != 3
    silent = (9 if mono else 17) if newer else (17 if mono else 32)
    text = bytes(silent) + b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    length: Optional[int] = None
    for rate in range(1, 15):
        header = bytes((first[0], first[1] | 1, rate << 4 | first[2] & 0x0D, first[3]))  # no checksum, no padding
        length = _frame_length(header)
        if length is not None and length >= 4 + len(text):
            break
    assert length is not None  # the largest rate holds the text
    return (header + text).ljust(length, b"\0")


def end_of_id3(stream: BinaryIO) -> int:
    """First byte after an ID3v2 tag at the beginning; 0 if there is none."""
    head = _read(stream, 0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + _synchsafe(head[6:]) + (10 if head[5] & 0x10 else 0)


def _read(stream: BinaryIO, position: int, count: int) -> bytes:
    stream.seek(position)
    return stream.read(count)


def _synchsafe(four: bytes) -> int:
    return sum((byte & 127) << shift for byte, shift in zip(four, (21, 14, 7, 0)))


def _frame_length(header: bytes) -> Optional[int]:
    """Length in bytes of the frame with this four-byte header; None if it is not a header, or in free format, which
    does not state it.
    """
    if header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, sampling = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or rate in (0, 15) or sampling == 3:
        return None
    bits = 1000 * _RATES[version == 3, layer][rate - 1]
    hertz = _SAMPLE_RATES[sampling] // {3: 1, 2: 2, 0: 4}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return 4 * (12 * bits // hertz + padding)
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bits // hertz + padding


def _alike(header: bytes, other: bytes) -> bool:
    """Whether two frames can belong to one stream: same version, layer and sample rate."""
    return header[1] & 0xFE == other[1] & 0xFE and header[2] & 0x0C == other[2] & 0x0C


def _first_frame(stream: BinaryIO, end: int) -> Optional[int]:
    """Position of the first frame that is followed by a second one."""
    start = end_of_id3(stream)
    area = _read(stream, start, _SEARCHED)
    place = area.find(b"\xff")
    while 0 <= place <= len(area) - 4:
        header = area[place : place + 4]
        length = _frame_length(header)
        if length is not None and start + place + length + 4 <= end:
            following = _read(stream, start + place + length, 4)
            if _frame_length(following) is not None and _alike(following, header):
                return start + place
        place = area.find(b"\xff", place + 1)
    return None


def _end_of_audio(stream: BinaryIO, size: int) -> int:
    """First byte of the tags at the end: ID3v1 and its extension, ID3v2.4, APE and Lyrics3."""
    while True:
        tail = _read(stream, max(0, size - 128), 128)[: min(size, 128)]
        tag = _tag_length(tail)
        if tag == 0 or tag > size:
            return size
        size -= tag
        if _read(stream, max(0, size - 227), 4) == b"TAG+":
            size -= 227


def _tag_length(tail: bytes) -> int:
    """Length in bytes of the tag that ends with ``tail``; 0 if there is none."""
    if len(tail) == 128 and tail[:3] == b"TAG":
        return 128
    if tail[-32:-24] == b"APETAGEX":
        contents = int.from_bytes(tail[-20:-16], "little")
        return contents + (32 if tail[-9] & 0x80 else 0)
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return int(tail[-15:-9]) + 15
    if tail[-10:-7] == b"3DI":
        return _synchsafe(tail[-4:]) + 20
    return 0
