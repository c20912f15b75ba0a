"""Detection of files named like audio that are something else: a web page, an archive, a picture, a Git LFS pointer."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

#: first bytes of the content -> description and remedy
_BEGINNINGS: Tuple[Tuple[bytes, str], ...] = (
    (b"<!doctype html", "an HTML page; its link gave a page instead of the file, download it again"),
    (b"<html", "an HTML page; its link gave a page instead of the file, download it again"),
    (b"<?xml", "an XML text, maybe a server's error message; download it again"),
    (b'{"', "a JSON text, maybe a server's error message; download it again"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with: git lfs pull"),
    (b"\0\x05\x16\x07", "a macOS system file without audio; remove it"),
    (b"pk\x03\x04", "a ZIP archive; unpack it"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"),
    (b"rar!", "a RAR archive; unpack it"),
    (b"%pdf", "a PDF document; remove it"),
    (b"\x89png", "a PNG picture; remove it"),
    (b"\xff\xd8\xff", "a JPEG picture; remove it"),
    (b"gif8", "a GIF picture; remove it"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM file; convert it, like this: ffmpeg -i FILE a.flac"),
    (b"\x30\x26\xb2\x75", "a Windows Media file; convert it, like this: ffmpeg -i FILE a.flac"),
)
_MPEG4 = "an MPEG-4 file (m4a, mp4); convert it, like this: ffmpeg -i FILE a.flac"


def other_content(path: str) -> Optional[str]:
    """Description and remedy of a file whose first bytes show that it is not readable audio; None otherwise."""
    with open(path, "rb") as stream:
        head = stream.read(512)
    if not head:
        return "an empty file (0 bytes); copy it again"
    if head[4:8] == b"ftyp":
        return _MPEG4
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, what in _BEGINNINGS:
        if start.startswith(beginning) or head.lower().startswith(beginning):
            return what
    if not head.strip(b"\0"):
        return "a file of zeros; copy it again" if _only_zeros(path) else None
    return None


def _only_zeros(path: str) -> bool:
    with open(path, "rb") as stream:
        return not any(block.strip(b"\0") for block in iter(lambda: stream.read(1 << 20), b""))


def is_system_file(path: Path) -> bool:
    """Whether a relative path is hidden or belongs to an operating system.

    Example::

        is_system_file(Path("drums/._kick.wav"))  # True: macOS stores this next to kick.wav on other file systems
    """
    hidden = any(part.startswith(".") and part not in (".", "..") for part in path.parts)
    return hidden or "__MACOSX" in path.parts or path.name.lower() in ("thumbs.db", "desktop.ini")
