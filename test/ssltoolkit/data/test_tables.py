"""data/tables.py: the shell helpers and the programs read what the recipes write, and accept the same values."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssltoolkit.data import tables
from ssltoolkit.data.datadir import DataDir, Segment
from ssltoolkit.data.recipes import Utterance, write_set
from ssltoolkit.errors import DataError
from ssltoolkit.stages.format import Formatter

ROOT = Path(__file__).resolve().parents[3]


def helper(name, *arguments):
    return subprocess.run([ROOT / "utils" / name, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def written(tmp_path):
    """Write whole recordings and a span of another, like the words and the silence of speech_commands."""
    for name, seconds in (("noise", 3.0), ("word", 0.5), ("other", 1.0)):
        soundfile.write(tmp_path / f"{name}.wav", np.sin(np.arange(int(seconds * 8000)) * 0.1), 8000)
    utts = {f"w-{name}": Utterance(tmp_path / f"{name}.wav", labels="yes") for name in ("word", "other")}
    utts["n-1"] = Utterance(tmp_path / "noise.wav", labels="_silence_", span=(1.0, 2.0))
    write_set(tmp_path / "d", utts)
    return tmp_path / "d"


def test_what_recipes_write_passes_through_every_helper(written, tmp_path):
    assert "0 -1" in (written / "segments").read_text()
    before = {path.name: path.read_bytes() for path in written.iterdir()}
    for name in ("validate_data_dir.sh", "fix_data_dir.sh", "validate_data_dir.sh"):
        done = helper(name, written)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert {path.name: path.read_bytes() for path in written.iterdir() if path.is_file()}.items() >= before.items()
    assert helper("get_utt2dur.sh", written).returncode == 0
    assert DataDir(written).durations() == {"n-1": 1.0, "w-other": 1.0, "w-word": 0.5}
    assert helper("copy_data_dir.sh", written, tmp_path / "copy").returncode == 0
    assert helper("subset_data_dir.sh", "--first", written, 2, tmp_path / "two").returncode == 0
    assert helper("combine_data.sh", tmp_path / "all", tmp_path / "copy", tmp_path / "two").returncode == 0
    assert DataDir(tmp_path / "all").segments()["w-word"] == Segment("rec-0000002", 0.0, tables.TO_END)
    formatter = Formatter(tmp_path / "all", tmp_path / "out")
    formatter.run_job(1, 1)
    assert formatter.finish(0.0) == 3
    assert DataDir(tmp_path / "out").durations() == {"n-1": 1.0, "w-other": 1.0, "w-word": 0.5}


def test_recipes_write_nothing_that_cannot_be_read(tmp_path):
    for one, part in ((Utterance(tmp_path, labels="a, b"), "utt2label: u: labels are "
                                                           "separated"), (Utterance(tmp_path, pitch=200), "utt2pitch: u: the pitch must be"),
                      (Utterance(tmp_path, labels="a", span=(2.0, 1.0)), "segments: u: needs 0 <= start < end")):  # fmt: skip
        with pytest.raises(DataError, match=part):
            write_set(tmp_path / "d", {"u": one})


#: name -> (accepted values, refused values)
VALUES = {
    "wav.scp": (["/a b.wav", "x.ark:12", "sox a - |"], ["", "|", " | "]),
    "segments": (
        ["r 0 -1", "r 0.5 1e1", "r 2 -1.0"],
        ["r 0", "r 1 1", "r 0 -2", "r -1 2", "r 0 nan", "r 0 1_0", "r -1 -1"],
    ),
    "utt2spk": (["s"], ["", "s t"]),
    "utt2label": (
        ["dog", "dog,big cat", "鳥"],
        ["", "dog,", " dog", "dog ", "dog, cat", "dog,dog", "dog\u00a0", "\u200b"],
    ),
    "utt2pitch": (["0", "127", "060"], ["128", "-1", "C4", "1.0", "1_0", "٣"]),
    "utt2dur": (["0.5", "1e2"], ["0", "-1", "inf", "1_0", "x"]),
    "utt2num_samples": (["1", "16000"], ["0", "-1", "1.5", "9" * 19]),
    "utt2fold": (["0", "9"], ["-1", "x", ""]),
    "feats.scp": (["a.ark:5"], ["a.ark", ":5", "a.ark:-5"]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    good, bad = VALUES[name]
    check = tables.TABLES[name].check
    assert [value for value in good if check(value.encode()) is not None] == []
    assert [value for value in bad if check(value.encode()) is None] == []


@pytest.mark.parametrize("name", ["segments", "utt2label", "utt2pitch", "utt2dur", "utt2fold"])
def test_programs_and_helpers_take_the_same_values(tmp_path, name):
    read = {
        "segments": "segments",
        "utt2label": "labels",
        "utt2pitch": "pitches",
        "utt2dur": "durations",
        "utt2fold": "folds",
    }[name]
    for value in sum(VALUES[name], []):
        (tmp_path / "wav.scp").write_text("r /r.wav\n" if name == "segments" else "u /u.wav\n")
        (tmp_path / name).write_text(f"u {value}\n", encoding="utf-8")
        try:
            getattr(DataDir(tmp_path), read)()
            taken = True
        except DataError:
            taken = False
        # Readers ignore spaces at the end of a line, validate_data_dir.sh reports them.
        assert taken == (helper("validate_data_dir.sh", tmp_path).returncode == 0) or value != value.strip(), value


def test_the_grammar_needs_the_standard_library_alone():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import ssltoolkit.data.tables; print({'numpy', 'torch', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-c", code, str(ROOT)], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
