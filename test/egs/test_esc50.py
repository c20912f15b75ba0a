"""egs/esc50: five folds from stage 1 to the report, both layouts, and incomplete copies."""

import shutil

import pytest
from fixtures.recipes import QUICK


def test_pre_training_data_and_five_folds(recipe, dataset, checkpoint):
    esc50 = recipe("esc50")
    options = ["--local_data_opts", "--partial true", "--pretrained", checkpoint]
    status, output = esc50.run(*options, *QUICK, ESC50=dataset("esc50"))
    assert status == 0, output[-3000:]
    assert (esc50.folder / "exp/main/embed/pretrained/esc50/meta.json").is_file()
    score = esc50.scores("pretrained", "esc50")["scores"]["top1_acc"]
    assert len(score["per_fold"]) == 5 and score["mean"] == pytest.approx(sum(score["per_fold"]) / 5)
    assert "esc50" in (esc50.folder / "exp/main/RESULTS.md").read_text()
    folds = dict(line.split() for line in (esc50.folder / "data/esc50/utt2fold").read_text().splitlines())
    assert len(folds) == 30 and all(utt.startswith(f"{fold}-") for utt, fold in folds.items())
    assert not (esc50.folder / "data/pretrain/utt2label").exists()


def test_a_folder_for_each_class(recipe, dataset):
    esc50 = recipe("esc50")
    status, output = esc50.run(
        "--stop_stage", 2, "--nj", 1, "--local_data_opts", "--partial true", ESC50=dataset("esc50_folders")
    )
    assert status == 0, output[-3000:]
    assert "dump/raw/esc50: 30 utterances" in output
    labels = (esc50.folder / "data/esc50/utt2label").read_text()
    assert "1-101000-A-101 dog\n" in labels and labels.count(" breathing\n") == 10


def test_nothing_starts_without_the_set_or_with_part_of_it(recipe, dataset, tmp_path):
    esc50 = recipe("esc50")
    status, output = esc50.run("--stop_stage", 1, ESC50="")
    assert status == 2 and "ESC50 is empty" in output and "github.com/karolpiczak/ESC-50" in output
    status, output = esc50.run("--stop_stage", 1, ESC50=tmp_path)
    assert status == 2 and "not a copy of ESC-50" in output
    part = tmp_path / "part"
    shutil.copytree(dataset("esc50"), part)
    gone = sorted((part / "audio").iterdir())[0]
    gone.unlink()
    status, output = esc50.run("--stop_stage", 1, ESC50=part)
    assert status == 2 and "30 of 2,000 clips listed in meta/esc50.csv; 29 of 30 of them in audio/" in output, output
    assert f"missing: {gone.name}" in output and "--partial true" in output
    assert not (esc50.folder / "data").exists()


def test_a_table_of_another_version_is_refused(recipe, dataset, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(dataset("esc50"), other)
    table = other / "meta/esc50.csv"
    table.write_text(table.read_text().replace("1-101000-A-0.wav,1,", "1-101000-A-0.wav,2,"))
    status, output = recipe("esc50").run("--stop_stage", 1, "--local_data_opts", "--partial true", ESC50=other)
    assert status == 2 and "meta/esc50.csv:2: fold 2 does not match" in output
