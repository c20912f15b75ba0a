"""egs/hear: task directories of three kinds, scored with the metrics of their metadata."""

import shutil

from fixtures.recipes import QUICK


def test_hear_tasks_of_three_kinds(recipe, dataset, checkpoint):
    hear = recipe("hear")
    quick = [option if option != "linear" else "knn" for option in QUICK]
    status, output = hear.run("--pretrained", checkpoint, *quick, HEAR_TASKS=dataset("hear_tasks"))
    assert status == 0, output[-3000:]
    names = ("speech_commands-v0.0.2-small", "beijing_opera-v1.0-full", "dcase2016_task2-hear2021-small")
    scenes, folds, events = (hear.scores("pretrained", name)["scores"] for name in names)
    assert set(scenes) == {"top1_acc"} and len(folds["top1_acc"]["per_fold"]) == 3
    assert set(events) == {"event_onset_200ms_fms", "segment_1s_er"}  # the metrics of the metadata
    assert "fold00_0" in hear.table(f"{names[1]}/utt2fold")


def test_hear_tasks_by_name_and_wrong_ones(recipe, dataset, tmp_path):
    hear = recipe("hear")
    status, output = hear.run("--tasks", "beijing_opera-v1.0-full", "--stop_stage", 1, HEAR_TASKS=dataset("hear_tasks"))
    assert status == 0 and not (hear.folder / "data/speech_commands-v0.0.2-small").exists(), output
    for folder, message in (
        ("", "HEAR_TASKS is empty"),
        (tmp_path / "egs", "no task directory"),
        (tmp_path / "none", "no such folder"),
    ):
        status, output = hear.run("--stop_stage", 1, HEAR_TASKS=folder)
        assert status == 2 and message in output and "hearbenchmark.com" in output and "stage 1" not in output
    status, output = hear.run("--tasks", "other", "--stop_stage", 1, HEAR_TASKS=dataset("hear_tasks"))
    assert status == 2 and "--tasks: other not in" in output
    part = tmp_path / "part"
    shutil.copytree(dataset("hear_tasks"), part)
    (part / "beijing_opera-v1.0-full/16000/fold01/fold01_2.wav").unlink()
    status, output = hear.run("--stop_stage", 1, HEAR_TASKS=part)
    assert status == 2 and "3 of the 4 files of fold01.json exist (missing: " in output
    status, output = hear.run("--help", HEAR_TASKS="")
    assert status == 0 and "9 results and report" in output


def test_the_archive_as_published_nests_its_tasks(recipe, dataset, tmp_path):
    """The archive unpacks to hear-2021.0.6/tasks/<task>, with the __MACOSX folder of macOS beside it."""
    hear, nested = recipe("hear"), tmp_path / "downloads/hear-2021.0.6/tasks"
    shutil.copytree(dataset("hear_tasks"), nested)
    (tmp_path / "downloads/__MACOSX/hear-2021.0.6/tasks").mkdir(parents=True)
    options = ("--tasks", "beijing_opera-v1.0-full", "--stop_stage", 1)
    status, output = hear.run(*options, HEAR_TASKS=tmp_path / "downloads")
    assert status == 0 and "fold00_0" in hear.table("beijing_opera-v1.0-full/utt2fold"), output
    shutil.copytree(nested / "beijing_opera-v1.0-full", tmp_path / "downloads/other/tasks/beijing_opera-v1.0-full")
    status, output = hear.run(*options, HEAR_TASKS=tmp_path / "downloads")
    assert status == 2 and "two folders are named beijing_opera-v1.0-full" in output
