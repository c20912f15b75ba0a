"""text.py: errors for other encodings name the command that converts the file, and that command works."""

import subprocess

import pytest

from ssltoolkit.data.datadir import read_table
from ssltoolkit.errors import DataError
from ssltoolkit.text import other_encoding, read_text

TEXT = "a /Müller/Œuvre.wav\nb /x.wav\n"


@pytest.mark.parametrize(
    "codec, named",
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE"), ("utf-32", "UTF-32"), ("cp1252", "WINDOWS-1252"), ("latin-1", "ISO-8859-1"),
     ("cp932", "CP932"), ("euc_jp", "EUC-JP")],
)  # fmt: skip
@pytest.mark.parametrize("read", [read_text, read_table])
def test_other_encodings_are_named_and_the_command_converts(tmp_path, codec, named, read):
    text = {"cp932": "a /ひよこ.wav\n", "euc_jp": "a /ヒヨコのこえ.wav\n", "latin-1": TEXT.replace("Œ", "O")}.get(
        codec, TEXT
    )
    path = tmp_path / "my list.tsv"
    path.write_bytes(text.encode(codec))
    assert other_encoding(path.read_bytes()) == named
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(str(path)) and f"it looks like {named}; convert it with: " in str(error.value)
    subprocess.run(["bash", "-c", str(error.value).split("convert it with: ")[1]], cwd=tmp_path, check=True)
    assert read_text(path).lstrip("\ufeff") == text


def test_utf8_is_read_with_or_without_a_mark(tmp_path):
    for codec in ("utf-8", "utf-8-sig"):
        (tmp_path / "t").write_bytes(TEXT.encode(codec))
        assert read_text(tmp_path / "t") == TEXT and other_encoding(TEXT.encode(codec)) is None
    assert other_encoding(b"") is None and other_encoding(b"\0") is None


def test_a_mark_in_a_table_is_refused_with_the_command_that_removes_it(tmp_path):
    path = tmp_path / "wav.scp"
    path.write_bytes(TEXT.encode("utf-8-sig"))
    with pytest.raises(DataError) as error:
        read_table(path)
    assert f"{path}:1: starts with a byte order mark; remove it with: sed" in str(error.value)
    subprocess.run(["bash", "-c", str(error.value).split("remove it with: ")[1]], check=True)
    assert list(read_table(path)) == ["a", "b"]
