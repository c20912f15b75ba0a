"""Check whether a file contains all the audio that its header states: decoders read truncated files without error."""

from __future__ import annotations

import io
import os
import struct
from typing import BinaryIO, Optional, Tuple

from ssltoolkit.data.mpeg import end_of_id3, incomplete_frame

#: data sizes from here on mean "unknown", as written by programs that stream to a pipe
_UNKNOWN = 0x7FFF0000
_TAIL = 1 << 17


def cut_off(path: str) -> Optional[str]:
    """Why a wav, RF64, AIFF, AU, W64, CAF, Ogg or MPEG file is truncated; None if it shows no sign of it."""
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        head = stream.read(16)
        if head[:4] == b"OggS":
            return _ogg(stream, size)
        if _begins_mpeg(head):
            reason = incomplete_frame(stream, size)
            return None if reason is None else f"truncated: {reason}"
        stated = _stated_end(stream, head, size)
    if stated is None or stated <= size:
        return None
    return f"truncated: {size} bytes, its header states {stated}"


def is_mpeg(path: str) -> bool:
    """Whether a file begins like MPEG audio."""
    with open(path, "rb") as stream:
        return _begins_mpeg(stream.read(3))


def _begins_mpeg(head: bytes) -> bool:
    return head[:3] == b"ID3" or head[:1] == b"\xff"


def has_stated_length(path: str) -> bool:
    """Whether an MPEG file states its number of frames, so that its length is not an estimate."""
    with open(path, "rb") as stream:
        stream.seek(end_of_id3(stream))
        first = stream.read(2048)
    return b"Xing" in first or b"Info" in first


def _stated_end(stream: BinaryIO, head: bytes, size: int) -> Optional[int]:
    """First byte after the audio according to the header; None if the header does not state it."""
    kind = head[:4]
    if kind in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return _chunks(stream, size, 12, ">4sI" if kind == b"RIFX" else "<4sI", b"data")
    if kind == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _chunks(stream, size, 12, ">4sI", b"SSND")
    if kind == b"RF64" and head[8:12] == b"WAVE":
        return _rf64(stream, size)
    if kind == b"riff":
        return _chunks(stream, size, 40, "<16sQ", b"data", own=24, align=8)
    if kind == b"caff":
        return _chunks(stream, size, 8, ">4sq", b"data", align=1)
    if kind == b".snd" and len(head) >= 12:
        start, length = struct.unpack(">II", head[4:12])
        return None if length >= _UNKNOWN else start + length
    return None


def _chunks(
    stream: BinaryIO, size: int, start: int, form: str, wanted: bytes, own: int = 0, align: int = 2
) -> Optional[int]:
    """End of the chunk ``wanted``; each chunk's size includes ``own`` bytes of header."""
    position, width = start, struct.calcsize(form)
    while position + width <= size:
        stream.seek(position)
        name, length = struct.unpack(form, stream.read(width))
        length -= own
        if name[:4] == wanted:
            return None if length <= 0 or (length >= _UNKNOWN and width == 8) else position + width + length
        if length < 0:
            return None
        position += width + -(-length // align) * align
    return None


def with_audio_size(path: str) -> Optional[BinaryIO]:
    """Repair a wave or AU file whose header states 0 bytes of audio, as left by a recorder that lost power.

    Returns:
        the content in memory, with the actual size in its header; None if the header states a size, or if only other
        chunks follow.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        head = stream.read(12)
        if head[:4] == b".snd":
            start = int.from_bytes(head[4:8], "big")
            field, order = 8, "big"
            if len(head) < 12 or head[8:12] != b"\0\0\0\0" or not 24 <= start < size:
                return None
        elif head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
            order = "little" if head[:4] == b"RIFF" else "big"
            found = _empty_chunk(stream, size, order)
            if found is None:
                return None
            field, start = found - 4, found
        else:
            return None
        stream.seek(0)
        content = bytearray(stream.read())
    content[field : field + 4] = min(size - start, _UNKNOWN - 1).to_bytes(4, order)  # type: ignore[arg-type]
    if field != 8:
        content[4:8] = min(size - 8, _UNKNOWN + 4096).to_bytes(4, order)  # type: ignore[arg-type]
    return io.BytesIO(bytes(content))


#: chunks that may follow the audio of a wave file
_OTHER_CHUNKS = (
    b"LIST",
    b"id3 ",
    b"ID3 ",
    b"fact",
    b"cue ",
    b"bext",
    b"JUNK",
    b"smpl",
    b"inst",
    b"PEAK",
    b"iXML",
    b"_PMX",
    b"fmt ",
    b"data",
    b"note",
    b"labl",
    b"acid",
    b"afsp",
)


def _empty_chunk(stream: BinaryIO, size: int, order: str) -> Optional[int]:
    """First byte after the header of a ``data`` chunk that states 0 bytes but is not empty."""
    position = 12
    while position + 8 <= size:
        stream.seek(position)
        name, length = stream.read(4), int.from_bytes(stream.read(4), order)  # type: ignore[arg-type]
        if name == b"data":
            follows = stream.read(4)
            return position + 8 if length == 0 and len(follows) > 1 and follows not in _OTHER_CHUNKS else None
        position += 8 + length + length % 2
    return None


def _rf64(stream: BinaryIO, size: int) -> Optional[int]:
    stream.seek(12)
    chunk = stream.read(24)
    if chunk[:4] != b"ds64" or len(chunk) < 24:
        return None
    (length,) = struct.unpack_from("<Q", chunk, 16)
    start = _find(stream, size, b"data")
    return None if start is None or length == 0 else start + length


def _find(stream: BinaryIO, size: int, wanted: bytes) -> Optional[int]:
    """First byte of a RIFF chunk's content."""
    position = 12
    while position + 8 <= size:
        stream.seek(position)
        name, length = struct.unpack("<4sI", stream.read(8))
        if name == wanted:
            return position + 8
        position += 8 + length + length % 2
    return None


def _ogg(stream: BinaryIO, size: int) -> Optional[str]:
    """Check that the last page of an Ogg file is complete and marked as the end of its stream (RFC 3533, section 6)."""
    stream.seek(max(0, size - _TAIL))
    tail = stream.read()
    place = tail.rfind(b"OggS")
    if place < 0:
        return "truncated: no Ogg page at its end"
    complete, last = _page(tail[place:])
    if complete and last:
        return None
    return "truncated: its last Ogg page " + ("is not the end of the stream" if complete else "is incomplete")


def _page(page: bytes) -> Tuple[bool, bool]:
    """Whether a page is complete, and whether it ends its stream."""
    if len(page) < 27:
        return False, False
    count = page[26]
    table = page[27 : 27 + count]
    return len(table) == count and len(page) >= 27 + count + sum(table), bool(page[5] & 4)
