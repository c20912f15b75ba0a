"""Reading of text files with byte order marks, and detection of other encodings. Standard library only."""

from __future__ import annotations

import codecs
import re
import shlex
from pathlib import Path
from typing import Optional, Union

from ssltoolkit.errors import DataError

PathLike = Union[str, Path]
BOM = codecs.BOM_UTF8
#: byte order mark -> encoding; longer marks first, because UTF-32's starts like UTF-16's
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_KANA = re.compile("[\u3041-\u30fa]")


def other_encoding(content: bytes) -> Optional[str]:
    """Guess the encoding of text that is not UTF-8; None if it is UTF-8.

    Args:
        content: a whole file, or its beginning up to a line end.

    Returns:
        an encoding name for iconv: UTF-16 and UTF-32 with a mark, UTF-16LE and UTF-16BE without one, CP932 and EUC-JP
        if decoding gives kana, WINDOWS-1252 with bytes that are control characters in Latin-1, else ISO-8859-1. All
        except those with a mark are guesses.

    Example::

        other_encoding("chœur.wav".encode("cp1252"))  # "WINDOWS-1252"
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    zeros = [content[start:2000:2].count(0) for start in (0, 1)]
    if len(content) > 3 and max(zeros) > 3 * min(zeros) and max(zeros) * 8 > min(len(content), 2000):
        return "UTF-16LE" if zeros[1] > zeros[0] else "UTF-16BE"
    try:
        content.decode("utf-8")
        return None
    except UnicodeDecodeError:
        pass
    for codec, name in (("cp932", "CP932"), ("euc_jp", "EUC-JP")):
        try:
            if _KANA.search(content.decode(codec)):
                return name
        except UnicodeDecodeError:
            continue
    return "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", content) else "ISO-8859-1"


def not_utf8(path: PathLike, content: bytes) -> str:
    """Message about a file in another encoding: name, line, probable encoding, and a command to convert it."""
    name = other_encoding(content) or "another encoding"
    line = ""
    if not name.startswith("UTF-"):
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = f":{content[: error.start].count(10) + 1}"
    quoted = shlex.quote(str(path))
    command = f"iconv -f {name} -t UTF-8 {quoted} > new && mv new {quoted}"
    return f"{path}{line}: not UTF-8 text, it looks like {name}; convert it with: {command}"


def remove_mark(path: PathLike) -> str:
    """The command that removes the byte order mark of a file."""
    return f"sed -i '1s/^\\xEF\\xBB\\xBF//' {shlex.quote(str(path))}"


def read_text(path: PathLike) -> str:
    """Read a UTF-8 file without its byte order mark, if it has one; line ends are kept.

    Raises:
        DataError: another encoding, with a command to convert it. OSError: as in :func:`open`.
    """
    content = Path(path).read_bytes()
    if other_encoding(content) is not None:
        raise DataError(not_utf8(path, content))
    return content.decode("utf-8-sig")
