"""Files of arbitrary content: success, or one line and status 2. No other exception, and no code is executed.

300 cases in all; 10,000 with ``SSLTOOLKIT_LONG=1``.
"""

import runpy
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import LONG

from ssltoolkit import command_line
from ssltoolkit.bin import format
from ssltoolkit.config import load_config
from ssltoolkit.data import lists
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.datadir import DataDir
from ssltoolkit.embedding import load_frozen
from ssltoolkit.errors import UserError
from ssltoolkit.stages.format import Formatter
from ssltoolkit.stages.pretrain import pretrain
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint

TINY_YAML = runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))["TINY_YAML"]
TARGETS = 6
fuzz = settings(
    max_examples=(10_000 if LONG else 300) // TARGETS + LONG, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
RUN = "touch executed"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with four wave files, the output of stage 2 for them, a configuration and a trained checkpoint."""
    import soundfile

    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "raw").mkdir()
    for index in range(4):
        soundfile.write(folder / f"raw/{index}.wav", 0.1 * np.random.default_rng(index).standard_normal(8000), 16000)
    (folder / "raw/wav.scp").write_text("".join(f"utt{index} {folder}/raw/{index}.wav\n" for index in range(4)))
    formatter = Formatter(folder / "raw", folder / "formatted")
    formatter.run_job(1, 1)
    formatter.finish(0.0)
    (folder / "tiny.yaml").write_text(TINY_YAML)
    (folder / "exp").mkdir()
    torch.set_num_threads(1)
    pretrain(load_config(folder / "tiny.yaml", ["training.max_steps=1"]), folder / "exp", folder / "formatted")
    return folder


@pytest.fixture(autouse=True)
def nothing_is_executed(place, monkeypatch):
    """Assert that no command created ``executed`` in the working directory; end a test that hangs."""
    monkeypatch.chdir(place)
    signal.alarm(3600 if LONG else 120)
    yield
    signal.alarm(0)
    assert not list(place.rglob("executed"))


def survives(action):
    """Run ``action``; only a UserError of one line may be raised."""
    try:
        action()
    except UserError as error:
        assert str(error) and "\n" not in str(error)


odd_text = st.sampled_from(
    [
        "",
        " ",
        "\t",
        "\r",
        "\n",
        "\0",
        "²",
        "é",
        "\u2028",
        "\ufeff",
        ":",
        "|",
        "$(touch executed)",
        "`touch executed`",
        "'",
        '"',
        ";touch executed",
    ]
)
number = st.one_of(
    st.sampled_from(
        ["0", "1", "-1", "0.1", "1e308", "1e-320", "-0.0", "nan", "inf", "-inf", "9" * 30, "²", "0x10", "1_0", "١"]
    ),
    st.floats(-2, 3).map(repr),
    st.integers(-5, 200).map(str),
)
word = st.one_of(
    st.text(max_size=8), odd_text, number, st.sampled_from(["utt0", "utt1", "utt2", "utt3", "a", "x" * 5000])
)


def lines(*fields):
    """Strategy: a table with these fields as bytes, most lines well formed."""
    ends = st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n", ""])
    line = st.tuples(st.tuples(*fields), st.sampled_from([" ", " ", "\t", ""]), ends).map(
        lambda parts: parts[1].join(parts[0]) + parts[2]
    )
    return st.lists(line, max_size=6).map(lambda found: "".join(found).encode("utf-8", "surrogatepass"))


def mutations(size):
    """Strategy: changes of a file as (position as a share of its length, number of bytes removed, bytes inserted)."""
    junk = st.one_of(
        st.binary(max_size=6), st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"RIFF", b"data", b"\r\n", b"."])
    )
    return st.lists(st.tuples(st.floats(0, 1), st.integers(0, size), junk), min_size=1, max_size=4)


def mutated(data, changes):
    data = bytearray(data)
    for share, removed, added in changes:
        position = int(share * len(data))
        data[position : position + removed] = added
    return bytes(data)


@fuzz
@given(st.data())
def test_scp(place, data):
    target = st.one_of(
        st.sampled_from(
            [
                f"{place}/raw/0.wav",
                f"{place}/raw/1.wav",
                f"{place}/none.wav",
                "/",
                ".",
                "/dev/null",
                f"{RUN} |",
                f"| {RUN}",
                f"{place}/raw/0.wav:5",
                f"{place}/formatted/wav.00001.ark:5",
            ]
        ),
        word,
    )
    content = data.draw(lines(word, target))
    with tempfile.TemporaryDirectory(dir=place) as folder:
        (Path(folder) / "wav.scp").write_bytes(content)
        status = command_line.run(format.main, ["--data_dir", folder, "--out_dir", f"{folder}/out", "--max_bad", "0.5"])
        assert status in (0, 2)


@fuzz
@given(
    st.one_of(lines(word, st.sampled_from(["utt0", "utt1", "x"]), number, number), lines(word, word, number, number))
)
def test_segments(place, content):
    with tempfile.TemporaryDirectory(dir=place) as folder:
        (Path(folder) / "wav.scp").write_bytes((place / "raw/wav.scp").read_bytes())
        (Path(folder) / "segments").write_bytes(content)
        assert command_line.run(
            format.main, ["--data_dir", folder, "--out_dir", f"{folder}/out", "--max_bad", "1"]
        ) in (0, 2)


@fuzz
@given(st.data())
def test_label_tables_and_lists(place, data):
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        (folder / "wav.scp").write_bytes((place / "raw/wav.scp").read_bytes())
        utt = st.sampled_from(["utt0", "utt1", "utt2", "utt3"])
        for table in ("utt2label", "utt2pitch", "utt2fold", "utt2dur"):
            (folder / table).write_bytes(data.draw(lines(utt, word)))
        events = data.draw(lines(st.tuples(utt, number, number, word).map("\t".join)))
        (folder / "events.tsv").write_bytes(
            data.draw(st.sampled_from([b"utt_id\tonset\toffset\tlabel\n", b"", b"\xff"])) + events
        )
        directory = DataDir(folder)
        for read in ("labels", "pitches", "folds", "durations", "events"):
            survives(getattr(directory, read))
        kind = data.draw(st.sampled_from(["clip", "pitch", "sed"]))
        path = st.sampled_from([f"{place}/raw/0.wav", f"{place}/raw/1.wav", f"{place}/raw/2.wav", "none.wav", "\0"])
        split = st.sampled_from(["train", "valid", "test", "?"])
        fields = st.tuples(path, *[st.one_of(number, word) for _ in lists.labels_of(kind).columns], split).map(
            "\t".join
        )
        header = "\t".join(("path", *lists.labels_of(kind).columns, "split")) + "\n"
        (folder / "list.tsv").write_bytes(header.encode() + data.draw(lines(fields)))
        survives(lambda: lists.write_task(folder / "list.tsv", kind, folder / "task"))


YAML_PARTS = [
    "!!python/object/apply:os.system ['touch executed']", "&a [*a]", "{a: *b}", "? [1]\n: 2", "{name: info_nce}", "null", "[]", "{}", "1e999", ".nan", "2001-01-01", "0o7",
    "!!binary x", "<<: 1", "name: &x {y: *x}", "- - -", "\t", "%YAML 9", "!<tag:yaml.org,2002:python/name:os.system>", "~", "yes", "'", "{name: cnn_small, width: [1]}",
]  # fmt: skip


@fuzz
@given(st.data())
def test_yaml(place, data):
    text = TINY_YAML
    for _ in range(data.draw(st.integers(1, 3))):
        words = text.split(" ")
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(
            st.one_of(st.sampled_from(YAML_PARTS), number, word)
        )
        text = " ".join(words)
    content = text.encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):
        content = mutated(content, data.draw(mutations(20)))
    path = place / "fuzzed.yaml"
    path.write_bytes(content)
    survives(lambda: load_config(path))


@fuzz
@given(st.data())
def test_archives(place, data):
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        ark = mutated((place / "formatted/wav.00001.ark").read_bytes(), data.draw(mutations(30)))
        scp = (place / "formatted/wav.scp").read_bytes().replace(f"{place}/formatted".encode(), name.encode())
        lengths = (place / "formatted/utt2num_samples").read_bytes()
        if data.draw(st.booleans()):
            scp = mutated(scp, data.draw(mutations(8)))
        if data.draw(st.booleans()):
            lengths = mutated(lengths, data.draw(mutations(3)))
        if data.draw(st.booleans()):  # change the header of one wave
            start = ark.find(b"RIFF")
            ark = ark[:start] + mutated(ark[start : start + 44], data.draw(mutations(4))) + ark[start + 44 :]
        for file, content in (("wav.00001.ark", ark), ("wav.scp", scp), ("utt2num_samples", lengths)):
            (folder / file).write_bytes(content)

        def use():
            archive = WaveArchive(folder)
            archive.check_rate(16000)
            archive.state(range(len(archive)))
            for index in range(len(archive)):
                survives(lambda index=index: archive.read(index, 10, 100))
                survives(lambda index=index: archive.read(index))

        survives(use)


def replaced(content, keys, value):
    """Copy nested dicts with one value replaced; ``keys`` select it."""
    if not keys or not isinstance(content, dict) or not content:
        return value
    key = sorted(content, key=str)[keys[0] % len(content)]
    return {**content, key: replaced(content[key], keys[1:], value)}


VALUES = st.one_of(
    st.sampled_from(
        [None, [], {}, "", "x", -1, 0, 1, 1e308, float("nan"), True, {"name": "cnn_small"}, {"name": "os.system"}]
    ),
    st.builds(torch.zeros, st.lists(st.integers(0, 3), max_size=3)),
)


@fuzz
@given(st.data())
def test_checkpoints(place, data):
    with tempfile.TemporaryDirectory(dir=place) as name:
        path = Path(name) / "last.pt"
        if data.draw(st.booleans()):
            path.write_bytes(mutated((place / "exp/last.pt").read_bytes(), data.draw(mutations(200))))
        else:
            keys = data.draw(st.lists(st.integers(0, 50), min_size=1, max_size=4))
            save_checkpoint(path, replaced(load_checkpoint(place / "exp/last.pt"), keys, data.draw(VALUES)))
        survives(lambda: load_frozen(str(path)))
        survives(
            lambda: pretrain(load_config(place / "tiny.yaml", ["training.max_steps=2"]), name, place / "formatted")
        )
