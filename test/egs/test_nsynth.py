"""egs/nsynth: pitch from stage 1 to the report."""

import json
import shutil

from fixtures.recipes import QUICK


def test_from_the_archives_to_the_report(recipe, dataset, checkpoint):
    nsynth = recipe("nsynth")
    status, output = nsynth.run(
        "--local_data_opts", "--partial true", "--pretrained", checkpoint, *QUICK, NSYNTH=dataset("nsynth")
    )
    assert status == 0, output[-3000:]
    assert {"pitch_acc", "chroma_acc"} == set(nsynth.scores("pretrained", "nsynth")["scores"])
    pitches = [line.split() for line in (nsynth.folder / "data/nsynth/train/utt2pitch").read_text().splitlines()]
    assert len(pitches) == 24 and {pitch for _, pitch in pitches} == {"60", "61", "62", "63"}
    assert all(int(name.split("-")[1]) == int(pitch) for name, pitch in pitches)


def test_a_subset_is_drawn_from_the_seed(recipe, dataset, monkeypatch, tmp_path):
    nsynth = recipe("nsynth")
    program = nsynth.folder / "local/prepare.py"
    program.write_text(
        program.read_text().replace('"train": 4000, "valid": 500, "test": 500', '"train": 10, "valid": 4, "test": 4')
    )
    drawn = []
    for seed in (0, 0, 1):
        status, output = nsynth.run(
            "--stop_stage", 1, "--local_data_opts", f"--partial true --seed {seed}", NSYNTH=dataset("nsynth")
        )
        assert status == 0, output
        drawn.append((nsynth.folder / "data/nsynth/train/wav.scp").read_text())
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0].splitlines()) == 10


def test_partial_and_damaged_copies(recipe, dataset, tmp_path):
    nsynth = recipe("nsynth")
    status, output = nsynth.run("--stop_stage", 1, NSYNTH=dataset("nsynth"))
    assert status == 2 and "26 of 289,205 notes in nsynth-train/examples.json" in output and "--partial true" in output
    part = tmp_path / "part"
    shutil.copytree(dataset("nsynth"), part)
    gone = sorted((part / "nsynth-test/audio").iterdir())[2]
    gone.unlink()
    shutil.rmtree(part / "nsynth-valid")
    status, output = nsynth.run("--stop_stage", 1, NSYNTH=part)
    assert status == 2 and "0 of 12,678 notes in nsynth-valid/examples.json" in output
    assert f"9 of 10 of them in nsynth-test/audio (missing: {gone.stem})" in output, output
    (part / "nsynth-train/examples.json").write_text(json.dumps({"a": {"pitch": "60"}}))
    status, output = nsynth.run("--stop_stage", 1, "--local_data_opts", "--partial true", NSYNTH=part)
    assert status == 2 and "note 'a' has no pitch and instrument_str" in output
