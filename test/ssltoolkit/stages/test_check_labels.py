"""stages/check_labels.py and its program: the labels of tasks, checked before pre-training."""

import pytest

from ssltoolkit.bin.main import main
from ssltoolkit.errors import DataError
from ssltoolkit.registry import REGISTRY
from ssltoolkit.stages.check_labels import check_labels

EVENTS = "utt_id\tonset\toffset\tlabel\n"


@pytest.fixture
def task(tmp_path, monkeypatch):
    """task("t", utt2label="a cat\\n"): three splits of one file each, with these tables; a list gives one per split."""
    monkeypatch.chdir(tmp_path)

    def write(name, **tables):
        for number, split in enumerate(("train", "valid", "test")):
            folder = tmp_path / name / split
            folder.mkdir(parents=True)
            (folder / "wav.scp").write_text("a a.wav\n")
            for table, text in tables.items():
                (folder / table.replace("_", ".")).write_text(text if isinstance(text, str) else text[number])
        return name

    return write


def test_right_labels_are_described(task, tmp_path):
    assert check_labels("clip", task("c", utt2label="a cat,dog\n")) == "c: clip, 3 files with utt2label, 2 classes"
    assert check_labels("pitch", task("p", utt2pitch="a 60\n")) == "p: pitch, 3 files with utt2pitch, 1 classes"
    assert check_labels("sed", task("s", events_tsv=f"{EVENTS}a\t0.1\t0.2\tdog\n")).endswith("events.tsv, 1 classes")
    (tmp_path / "k").mkdir()
    for file, values in (("wav.scp", "wxyz"), ("utt2fold", "1123"), ("utt2label", "pqrp")):
        (tmp_path / "k" / file).write_text("".join(f"u{number} {value}\n" for number, value in enumerate(values)))
    assert check_labels("clip", "k") == "k: clip, 4 files with utt2label, 3 classes"


@pytest.mark.parametrize(
    "kind, tables, message",
    [
        ("clip", {}, "t/train/utt2label: no such file"),
        (
            "clip",
            {"utt2label": ["a cat\n", "b cat\n", "a cat\n"]},
            "t/valid/utt2label: 1 utterance\\(s\\) have no line",
        ),
        ("clip", {"utt2label": ["a cat\n", "a cat\n", "a dog\n"]}, "t/test/utt2label:1: label\\(s\\) in neither train"),
        ("pitch", {"utt2pitch": "a 128\n"}, "t/train/utt2pitch:1: the pitch must be a MIDI note number"),
        ("sed", {"events_tsv": EVENTS}, "t/test: no file of the test split has an event"),
        ("sed", {"events_tsv": f"{EVENTS}a\t2\t1\tdog\n"}, "t/train/events.tsv:2: needs 0 <= onset < offset"),
    ],
)
def test_wrong_labels_are_refused(task, kind, tables, message):
    with pytest.raises(DataError, match=message):
        check_labels(kind, task("t", **tables))


def test_a_label_file_that_stage_2_would_not_copy(task, monkeypatch):
    monkeypatch.setattr(REGISTRY.component("task", "clip").factory.labels, "file", "labels.txt")
    with pytest.raises(DataError, match="its label file is 'labels.txt'; name it utt2"):
        check_labels("clip", task("t"))


def test_the_program_checks_every_task(task, capsys):
    task("right", utt2label="a cat\n")
    task("wrong", utt2pitch="a C4\n")
    assert main(["check-labels", "pitch:wrong", "clip:right", "mood:right"]) == 2
    said = capsys.readouterr()
    assert said.out == "right: clip, 3 files with utt2label, 1 classes\n"
    first, second = said.err.splitlines()
    assert first.startswith("ssltoolkit check-labels: error: wrong/train/utt2pitch:1: the pitch must be a MIDI")
    assert "no task 'mood'" in second
    assert main(["check-labels", "clip:right"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["check-labels", "right"])
    assert stop.value.code == 2 and "expected TASK:FOLDER" in capsys.readouterr().err
