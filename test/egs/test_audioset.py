"""egs/audioset: the paper's experiment on miniatures of its four datasets; missing data are reported at the start."""

import pytest
from fixtures.recipes import QUICK

EVALUATION = {"SPEECH_COMMANDS": "speech_commands", "DCASE2016_TASK2": "dcase2016_task2", "NSYNTH": "nsynth"}


@pytest.fixture
def audioset(recipe):
    return recipe("audioset", *EVALUATION.values())


@pytest.fixture
def folders(dataset):
    return {"AUDIOSET": dataset("audioset"), **{variable: dataset(name) for variable, name in EVALUATION.items()}}


def ids(recipe, name="pretrain"):
    return [line.split()[0] for line in (recipe.folder / f"data/{name}/wav.scp").read_text().splitlines()]


def test_the_experiment(audioset, folders, checkpoint):
    quick = [option if option != "linear" else "knn" for option in QUICK]
    status, output = audioset.run("--local_data_opts", "--partial true", "--pretrained", checkpoint, *quick, **folders)
    assert status == 0, output[-3000:]
    metrics = {"speech_commands": "top1_acc", "dcase2016_task2": "event_onset_200ms_fms", "nsynth": "pitch_acc"}
    for task, metric in metrics.items():
        assert metric in audioset.scores("pretrained", task)["scores"]
    table = (audioset.folder / "exp/main/RESULTS.md").read_text()
    assert all(task in table for task in metrics)
    assert "audio of 5 of the 6 segments of balanced (83.3 %)" in output
    assert ids(audioset) == ["Y--PJHxphWEs", "Y--ZhevVpy1s", "Y-0SdAVK79lg", "YYaE2O5G5WE0", "Y_zLzaf8uVIo"]
    assert ids(audioset, "pretrain_valid") == ["Y--4gqARaEJE", "Y--BfvyPmVMo", "Y--U7joUcTCo"]


def test_everything_missing_is_said_at_once(audioset, folders, tmp_path):
    empty = dict.fromkeys(folders, "")
    status, output = audioset.run("--stop_stage", 1, **empty)
    assert status == 2 and "4 of 4 datasets missing or incomplete" in output
    for variable, page in (
        ("AUDIOSET", "research.google.com"),
        ("SPEECH_COMMANDS", "tensorflow.org"),
        ("DCASE2016_TASK2", "archive.org"),
        ("NSYNTH", "magenta"),
    ):
        assert f"{variable} is empty" in output and page in output
    assert not (audioset.folder / "data").exists()
    status, output = audioset.run("--stop_stage", 1, **{**folders, "NSYNTH": tmp_path})
    assert (
        status == 2
        and "not a copy of NSynth" in output
        and "105,829 spoken words" in output
        and not (audioset.folder / "data").exists()
    )


@pytest.mark.parametrize(
    "options, count",
    [("--subset unbalanced", 2), ("--subset all", 7), ("--share 0.4", 2), ("--list own.txt", 3), ("--list own.csv", 2)],
)
def test_what_is_pre_trained_on(audioset, folders, options, count):
    (audioset.folder / "own.txt").write_text("--PJHxphWEs\n---1_cCGK4M\n_zLzaf8uVIo\n")
    (audioset.folder / "own.csv").write_text(
        '# num_segs=2\n--PJHxphWEs, 30.000, 40.000, "/m/09x0r"\nYaE2O5G5WE0, 0.000, 10.000, "/m/1,/m/2"\n'
    )
    status, output = audioset.run("--stop_stage", 1, "--local_data_opts", f"--partial true {options}", **folders)
    assert status == 0, output
    assert len(ids(audioset)) == count


def test_lists_that_are_wrong(audioset, folders):
    (audioset.folder / "short.csv").write_text('# num_ytids=3, num_segs=3\n--PJHxphWEs, 30.000, 40.000, "/m/09x0r"\n')
    (audioset.folder / "bad.txt").write_text("--PJHxphWEs\nnot-an-id\n")
    for name, message in (
        ("short.csv", "has 1 segments, its header says 3"),
        ("bad.txt", "bad.txt:2: 'not-an-id' is not a YouTube id"),
    ):
        status, output = audioset.run(
            "--stop_stage", 1, "--local_data_opts", f"--partial true --list {name}", **folders
        )
        assert status == 2 and message in output, output


def test_a_copy_that_lacks_most_is_refused(audioset, folders):
    (audioset.folder / "gone.txt").write_text("--PJHxphWEs\n" + "".join(f"gone-{k:06d}\n" for k in range(9)))
    arguments = ["--source", str(folders["AUDIOSET"]), "--list", "gone.txt"]
    (audioset.folder / "run.sh").write_text(
        f"#!/usr/bin/env bash\n. ./path.sh\npython3 local/prepare.py {' '.join(arguments)}\n"
    )
    status, output = audioset.run()
    assert status == 2 and "1 of 10 clips of gone.txt (missing: gone-000000" in output, output
