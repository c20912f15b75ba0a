"""Programs on generated hostile audio and tables: status 0 or 2, one line with the cause, no traceback, some output."""

import random
import shutil
import struct

import numpy as np
import pytest
import soundfile
from fuzzing import ODD_TEXT, refused, share, text_file

from ssltoolkit import command_line
from ssltoolkit.bin import embed, features, format
from ssltoolkit.data.lists import write_task
from ssltoolkit.data.scan import write_pool
from ssltoolkit.errors import UserError


def audio(rng, path):
    """Write a file of arbitrary content with the extension of an audio file."""
    wave = np.sin(np.arange(rng.choice([1, 7, 160, 4000])) * 0.1) * rng.choice([0, 0.5, 1, 3, 1e4, 1e30])
    kind = rng.randrange(9)
    if kind < 4:
        form = rng.choice(["WAV", "FLAC", "OGG", "AIFF", "AU", "W64", "CAF", "RF64", "MP3"])
        subtype = rng.choice([one for one in soundfile.available_subtypes(form) if one != "ALAC_32"])
        if subtype not in ("FLOAT", "DOUBLE"):  # libsndfile's lossy encoders crash on larger values
            wave = np.clip(wave, -1, 1)
        try:
            soundfile.write(
                path,
                np.stack([wave] * rng.choice([1, 2, 5]), 1),
                rng.choice([8000, 16000, 44100]),
                subtype,
                format=form,
            )
        except (soundfile.SoundFileError, ValueError, TypeError):
            path.write_bytes(b"")
        content = bytearray(path.read_bytes())
        if kind < 3 and content:
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(min(60, len(content)))
                content[at : at + rng.randrange(5)] = rng.choice(
                    [b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"data", struct.pack("<I", rng.randrange(1 << 32))]
                )
            path.write_bytes(bytes(content[: rng.choice([None, None, len(content) // 2, 44, 12])]))
    else:
        path.write_bytes(
            rng.choice(
                [
                    b"",
                    b"<html>",
                    bytes(100),
                    b"{}",
                    b"PK\3\4",
                    rng.randbytes(500),
                    b"\xff\xfb" + rng.randbytes(400),
                    b"OggS" + rng.randbytes(90),
                    b"ID3" + bytes(40),
                    b".snd" + bytes(30),
                    b"RIFF\0\0\0\0WAVE" + rng.randbytes(80),
                    b"FORM" + rng.randbytes(60),
                    b"fLaC" + rng.randbytes(60),
                    b"caff" + rng.randbytes(60),
                ]
            )
        )


@pytest.mark.parametrize("case", share("format"))
def test_format(tmp_path, capsys, case):
    rng = random.Random(f"format {case}")
    for number in range(4):
        audio(rng, tmp_path / f"{number}.{rng.choice(['wav', 'flac', 'mp3', 'ogg'])}")
    names = sorted(path.name for path in tmp_path.iterdir())
    soundfile.write(tmp_path / "good.wav", np.ones(1600) * 0.1, 16000)
    rows = [f"u{number} {tmp_path}/{name}" for number, name in enumerate([*names, "good.wav"])]
    if rng.random() < 0.4:
        rows[rng.randrange(len(rows))] = rng.choice(
            [
                "",
                "x",
                rng.choice(ODD_TEXT) + " y",
                "u9 " + rng.choice(ODD_TEXT),
                f"u9 {tmp_path}",
                "u9 /dev/null",
                "u0 twice",
            ]
        )
    text_file(rng, tmp_path / "wav.scp", "\n".join(rows) + rng.choice(["\n", "\n", ""]))
    if rng.random() < 0.3:
        spans = [
            f"s{n} u{n} {rng.choice(['0', '0.01', '-1', 'nan', '5'])} {rng.choice(['-1', '0.05', '1', '1e9', ''])}"
            for n in range(5)
        ]
        text_file(rng, tmp_path / "segments", "\n".join(spans) + "\n")
    if rng.random() < 0.3:
        text_file(
            rng,
            tmp_path / "events.tsv",
            f"utt_id\tonset\toffset\tlabel\nu4\t{rng.choice(['0', '0.05', '-1', '1e9', 'x'])}\t{rng.choice(['0.1', '0.14', '7', ''])}\t{rng.choice(ODD_TEXT)}\n",
        )
    if rng.random() < 0.3:
        text_file(
            rng,
            tmp_path / "utt2label",
            "".join(f"u{n} {rng.choice(['a', 'a,b', 'a,a', *ODD_TEXT])}\n" for n in range(5)),
        )
    refused(
        lambda: command_line.run(
            format.main,
            [
                "--data_dir",
                str(tmp_path),
                "--out_dir",
                str(tmp_path / "out"),
                "--max_bad",
                rng.choice(["0", "0.9", "1"]),
            ],
        ),
        capsys,
    )


@pytest.mark.parametrize("case", share("embed"))
def test_embed(tmp_path, capsys, case):
    rng = random.Random(f"embed {case}")
    path = tmp_path / ("a" + rng.choice([".wav", ".mp3", "", ".flac", " b.wav", "é.ogg"]))
    audio(rng, path)
    if rng.random() < 0.3:
        (tmp_path / f"._{path.name}").write_bytes(rng.randbytes(300))
    out = tmp_path / "e.npz"
    status = refused(
        lambda: command_line.run(embed.main, ["--model", "baseline:logmel", str(path), "-o", str(out)]), capsys, out
    )
    if status == 0:
        with np.load(out) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays.files if name != "model")


@pytest.mark.parametrize("case", share("lists"))
def test_lists(tmp_path, case):
    rng = random.Random(f"lists {case}")
    kind = rng.choice(["clip", "sed", "pitch"])
    for name in "abcdef":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(1600), 16000)
    columns = {"clip": ["label"], "sed": ["onset", "offset", "label"], "pitch": ["midi"]}[kind]
    values = {
        "label": ["dog", "dog,cat", "dog "],
        "onset": ["0", "0.05", ""],
        "offset": ["0.08", "0.14", "0.16", "9"],
        "midi": ["60", "61", "128"],
    }
    rows = []
    for n, name in enumerate("abcdef"):
        for _ in range(rng.choice([1, 1, 2])):
            rows.append(
                [
                    f"{name}.wav",
                    *(rng.choice(values[column][:1] * 6 + values[column]) for column in columns),
                    ["train", "valid", "test"][n % 3],
                ]
            )
    for _ in range(rng.randrange(3)):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice([*ODD_TEXT, "._a.wav", "/", "TRAIN"])
    header = ["path", *columns, "split"]
    if rng.random() < 0.1:
        header[rng.randrange(len(header))] = rng.choice(ODD_TEXT)
    text_file(rng, tmp_path / "list.tsv", "\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    try:
        assert write_task(tmp_path / "list.tsv", kind, tmp_path / "task")
    except UserError as error:
        assert str(error).startswith(str(tmp_path / "list.tsv")) and "\n" not in str(error)
        return
    for split in ("train", "valid", "test"):
        data = tmp_path / "task" / split
        assert (
            command_line.run(format.main, ["--data_dir", str(data), "--out_dir", str(tmp_path / f"dump-{split}")]) == 0
        )


@pytest.mark.parametrize("case", share("pool"))
def test_pool(tmp_path, capsys, case):
    rng = random.Random(f"pool {case}")
    for n in range(rng.randrange(12)):
        folder = tmp_path / "audio" / rng.choice([".", "sub", "__MACOSX", ".hidden", "a b", "é"])
        folder.mkdir(parents=True, exist_ok=True)
        (
            folder
            / (
                rng.choice(["", "._", "."])
                + f"{n}"
                + rng.choice([" ", "", "e\u0301", "="])
                + rng.choice([".wav", ".WAV", ".m4a", ".txt", ""])
            )
        ).write_bytes(b"x")
    try:
        counts = write_pool(tmp_path / "audio", tmp_path / "data")
        assert counts["pretrain"] + counts["pretrain_valid"] >= 6 and not any(
            "/._" in line for line in (tmp_path / "data/pretrain/wav.scp").read_text().splitlines()
        )
    except UserError as error:
        assert str(error) and "\n" not in str(error)


@pytest.fixture(scope="module")
def formatted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formatted")
    for n in range(3):
        soundfile.write(folder / f"{n}.wav", 0.1 * np.random.default_rng(n).normal(size=8000), 16000)
    (folder / "wav.scp").write_text("".join(f"u{n} {folder}/{n}.wav\n" for n in range(3)))
    assert command_line.run(format.main, ["--data_dir", str(folder), "--out_dir", str(folder / "out")]) == 0
    return folder / "out"


@pytest.mark.parametrize("case", share("features"))
def test_features(tmp_path, capsys, formatted, case, tiny_yaml):
    rng, data = random.Random(f"features {case}"), tmp_path / "data"
    shutil.copytree(formatted, data)
    path = data / rng.choice(["wav.scp", "utt2num_samples", "wav.00001.ark"])
    content = bytearray(path.read_bytes().replace(str(formatted).encode(), str(data).encode()))
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(content)) if path.suffix != ".ark" else rng.randrange(60)
        content[at : at + rng.randrange(4)] = rng.choice(
            [b"", b"\0", b"\xff\xff", b"\n", b" ", b"9", b"-", "é".encode()]
        )
    path.write_bytes(bytes(content))
    refused(
        lambda: command_line.run(
            features.main, ["--config", str(tiny_yaml), "--data_dir", str(data), "--out_dir", str(tmp_path / "out")]
        ),
        capsys,
    )
