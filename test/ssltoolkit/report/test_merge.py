"""Results of several pre-training seeds as one table."""

import json
import shutil

import numpy as np
import pytest

from ssltoolkit import command_line
from ssltoolkit.bin import report
from ssltoolkit.evaluation.results import load_arrays, read_result
from ssltoolkit.report.collect import collect
from ssltoolkit.report.merge import merge, merge_folders
from ssltoolkit.report.plots_scores import score_bars


def test_a_merged_row_is_the_mean_over_runs(measured, tmp_path):
    for task in ("scenes", "notes", "events", "tags"):
        paths = [measured / "results" / model / f"{task}.json" for model in ("good", "poor", "good")]
        merged = merge(paths, tmp_path / f"{task}.json")
        found = read_result(tmp_path / f"{task}.json")
        assert found["scores"] == json.loads(json.dumps(merged["scores"])) and len(found["meta"]["runs"]) == 3
        for metric, score in found["scores"].items():
            low, high = score["ci95"]
            assert (
                len(score["per_seed"]) == 3
                and score["per_seed"][0] == score["per_seed"][2]
                and low <= score["mean"] <= high
            )
            if metric in ("top1_acc", "pitch_acc"):  # a mean over files, so also the mean of the runs' scores
                runs = [read_result(path)["scores"][metric]["mean"] for path in paths]
                assert score["per_seed"] == pytest.approx(runs)
        counts = {key: value for key, value in load_arrays(found).items() if key.startswith("counts:")}
        assert all(value.shape[0] == 3 for value in counts.values())


def test_several_folders_become_one_table(measured, tmp_path, capsys):
    for seed in (0, 1):
        shutil.copytree(measured / "results", tmp_path / f"seed{seed}")
    for path in (tmp_path / "seed1" / "good").glob("*.json"):  # both folders hold the same results of poor
        found = json.loads(path.read_text())
        found["meta"]["command"] += " # of another run"
        path.write_text(json.dumps(found))
    command = ["--results", tmp_path / "seed0", tmp_path / "seed1", "--output", tmp_path / "out", "--reference", "poor"]
    assert command_line.run(report.main, [*map(str, command), "--pictures", "false"]) == 0
    text = (tmp_path / "out" / "RESULTS.md").read_text()
    assert (
        "2 pre-training seeds" in text
        and "Difference to poor" in text
        and text.count("ssltoolkit evaluate") == 2 * 4 + 4
    )
    assert "good" in capsys.readouterr().out
    for folder, seeds in ((tmp_path / "out" / "results", "pre-training seeds"), (measured / "results", "probe seeds")):
        (picture,) = score_bars(collect(folder), tmp_path / "pictures")
        assert f"mean over {seeds};" in picture.caption


def test_runs_that_differ_are_refused(measured, tmp_path, capsys):
    shutil.copytree(measured / "results", tmp_path / "seed0")
    shutil.copytree(measured / "results", tmp_path / "seed1")
    (tmp_path / "seed1" / "good" / "notes.json").unlink()
    assert (
        command_line.run(
            report.main,
            ["--results", str(tmp_path / "seed0"), str(tmp_path / "seed1"), "--output", str(tmp_path / "out")],
        )
        == 2
    )
    assert "good/notes.json" in capsys.readouterr().err
    arrays = dict(np.load(tmp_path / "seed1" / "good" / "scenes.npz"))
    arrays["utt_ids"] = arrays["utt_ids"][::-1]
    np.savez_compressed(tmp_path / "seed1" / "good" / "scenes.npz", **arrays)
    (tmp_path / "seed0" / "good" / "notes.json").unlink()
    with pytest.raises(Exception, match="same files"):
        merge_folders([tmp_path / "seed0", tmp_path / "seed1"], tmp_path / "out")


def merged_by(tmp_path, *folders, output="out"):
    command = [
        "--results",
        *(tmp_path / folder for folder in folders),
        "--output",
        tmp_path / output,
        "--pictures",
        "false",
    ]
    return command_line.run(report.main, [str(part) for part in command])


def test_a_second_merge_keeps_nothing_of_the_first(measured, tmp_path):
    for seed in ("seed0", "seed1"):
        shutil.copytree(measured / "results", tmp_path / seed)
    assert merged_by(tmp_path, "seed0", "seed1") == 0
    (tmp_path / "out" / "results" / "note.txt").write_text("mine")
    for seed in ("seed0", "seed1"):
        shutil.rmtree(tmp_path / seed / "poor")
    assert merged_by(tmp_path, "seed0", "seed1") == 0
    assert {path.parent.name for path in (tmp_path / "out" / "results").rglob("*.[jn]*")} == {"good"}
    assert (
        "poor" not in (tmp_path / "out" / "RESULTS.md").read_text()
        and (tmp_path / "out" / "results" / "note.txt").exists()
    )


def test_results_are_not_merged_into_results(measured, tmp_path, capsys):
    for name in ("seed0/results", "seed1/results", "other/results"):
        shutil.copytree(measured / "results", tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    for folders, output in ((("seed0/results", "seed1/results"), "seed1"), (("seed0/results", "seed1"), "seed1")):
        assert merged_by(tmp_path, *folders, output=output) == 2
        assert "give another --output, outside of every --results" in capsys.readouterr().err
    assert merged_by(tmp_path, "seed0/results", "seed1/results", output="other") == 2
    error = capsys.readouterr().err
    assert "other/results/good/events.json: not a merged result" in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def set_meta(path, **changes):
    content = json.loads(path.read_text())
    content["meta"].update(changes)
    path.write_text(json.dumps(content))


def test_probes_that_trained_on_different_shares_are_neither_merged_nor_compared(measured, tmp_path, capsys):
    for seed in ("seed0", "seed1"):
        shutil.copytree(measured / "results", tmp_path / seed)
    path = tmp_path / "seed1" / "good" / "notes.json"
    content = json.loads(path.read_text())
    del content["meta"]["label_fraction"], content["meta"]["train_files"]
    path.write_text(json.dumps(content))
    assert merged_by(tmp_path, "seed0", "seed1") == 0  # the format of an earlier version
    set_meta(path, label_fraction=0.1, train_files=[5])
    assert merged_by(tmp_path, "seed0", "seed1") == 2
    message = "notes.json: its probe trained on 10 % of the training files (5), that of"
    error = capsys.readouterr().err
    assert (
        message in error
        and "on 100 % of the training files (48); evaluate both with the same --label_fraction" in error
    )
    set_meta(tmp_path / "seed0" / "good" / "notes.json", label_fraction=0.1, train_files=[5])
    assert merged_by(tmp_path, "seed0", "seed1") == 2
    error = capsys.readouterr().err
    assert "good/notes.json: its probe trained on 10 %" in error.replace("poor", "good") and error.count("\n") == 1
