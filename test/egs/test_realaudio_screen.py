"""egs/realaudio/ssl1/local/screen.py: scores of embeddings with known accuracy, and errors for missing files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssltoolkit.evaluation.store import EmbeddingWriter

SCREEN = Path(__file__).resolve().parents[2] / "egs/realaudio/ssl1/local/screen.py"


@pytest.fixture
def screen_module(monkeypatch):
    monkeypatch.syspath_prepend(str(SCREEN.parent))
    import screen

    return screen


def write_task(root, task, labels, utterances, rows):
    """Write embeddings and labels of one task, divided among the three splits."""
    for number, split in enumerate(("train", "valid", "test")):
        chosen = range(number, len(utterances), 3)
        data = root / "raw" / f"dev_{task}" / split
        data.mkdir(parents=True)
        table = "utt2pitch" if task == "notes" else "utt2label"
        (data / table).write_text("".join(f"{utterances[i]} {labels[i]}\n" for i in chosen))
        with EmbeddingWriter(root / "model" / f"dev_{task}" / split, "scene", rows.shape[1]) as writer:
            for i in chosen:
                writer.add(utterances[i], rows[i])


def make_tasks(root, reported):
    """Write ten digits of four speakers, twelve folders, and twelve notes of eight instruments. Embeddings depend on
    the class only if ``reported``.
    """
    rng = np.random.default_rng(0)
    cases = {
        "digits": [
            (f"{d}_{who}_{k}", str(d), who) for d in range(10) for who in ("ann", "bob", "cyd", "dan") for k in range(4)
        ],
        "folders": [(f"file{c}-{k}", f"kind{c}", "") for c in range(12) for k in range(10)],
        "notes": [(f"organ_{i:03d}-{p:03d}-050", str(p), f"organ{i}") for i in range(8) for p in range(40, 52)],
    }
    for task, entries in cases.items():
        classes = np.unique([label for _, label, _ in entries], return_inverse=True)[1]
        rows = 0.1 * rng.standard_normal((len(entries), 24))
        if reported:
            rows[:, :12] += 3.0 * np.eye(12)[classes]
        write_task(
            root, task, [label for _, label, _ in entries], [name for name, _, _ in entries], rows.astype(np.float32)
        )


def run(root, *options):
    return subprocess.run(
        [sys.executable, SCREEN, "model", "--data_dir", "raw", *options], cwd=root, capture_output=True, text=True
    )


def test_what_embeddings_tell_is_found_and_chance_is_chance(tmp_path):
    for reported, low, high in ((True, 95.0, 100.0), (False, 0.0, 30.0)):
        root = tmp_path / str(reported)
        make_tasks(root, reported)
        done = run(root)
        assert done.returncode == 0, done.stderr
        header, values = (line.split("\t") for line in done.stdout.splitlines())
        assert header == ["model", "digits", "folders", "notes", "few", "one"]
        assert all(low <= float(value) <= high for value in values[1:]), values


def test_the_tables_probe_by_turns(tmp_path):
    for reported, low, high in ((True, 95.0, 100.0), (False, 0.0, 30.0)):
        root = tmp_path / str(reported)
        make_tasks(root, reported)
        done = run(root, "--probe", "table", "--tasks", "digits")
        assert done.returncode == 0, done.stderr
        header, values = (line.split("\t") for line in done.stdout.splitlines())
        assert header == ["model", "digits"] and low <= float(values[1]) <= high, values
    done = run(root, "--tasks", "digits,nots")
    assert done.returncode == 2 and "--tasks: must be of digits, folders, notes, got 'nots'" in done.stderr


def test_a_fold_is_not_told_by_itself(screen_module):
    # Embeddings occur twice and do not depend on the class: a speaker in both training and test would reveal the digit
    # of the copy.
    rng = np.random.default_rng(1)
    speakers = np.repeat(np.arange(4), 30)
    rows = np.repeat(rng.standard_normal((60, 16)), 2, axis=0)  # every sound twice, by one speaker
    classes = np.repeat(rng.integers(0, 10, 60), 2)
    classify = screen_module.kernel(rows, classes)
    assert screen_module.score(classify, classes, speakers) < 30.0
    assert screen_module.score(classify, classes, 2 * (np.arange(120) % 2) + np.arange(120) // 2 % 2) > 90.0


def test_missing_files_are_said(tmp_path):
    make_tasks(tmp_path, True)
    table = tmp_path / "raw/dev_notes/valid/utt2pitch"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[1:]))
    done = run(tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "raw/dev_notes/valid/utt2pitch: no label of utterance 'organ_000-041-050'" in done.stderr
    table.unlink()
    done = run(tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "raw/dev_notes/valid/utt2pitch" in done.stderr and "--stop_stage 2" in done.stderr
    done = subprocess.run([sys.executable, SCREEN, "nothing"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "nothing" in done.stderr and "stage 5" in done.stderr
