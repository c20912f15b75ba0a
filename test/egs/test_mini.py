"""egs/mini/ssl1 end to end at the smallest size, in a copy of the recipe."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "max_steps=4 valid_interval=2 checkpoint_interval=2 batch_size=8 collapse_rank=0 threads=1 precision=fp32"
TRAIN_ARGS = (
    " ".join(f"--set training.{setting}" for setting in SETTINGS.split())
    + " --set encoder.width=4 --set encoder.embed_dim=32"
)
OPTIONS = [
    "--local_data_opts", "--scale 0.02", "--train_configs", "conf/multi_strategy.yaml", "--train_args", TRAIN_ARGS,
    "--baselines", "baseline:logmel", "--probe_seeds", "0", "--quick_probe", "true", "--nj", "1",
]  # fmt: skip

# In its fifth forward pass, pre-training writes a file and waits until the test has sent Ctrl-C.
WAITING = """
import time
from pathlib import Path
from ssltoolkit.model import SSLModel

forward, calls, here = SSLModel.forward, [], Path(__file__).parent

def waiting(self, batch):
    calls.append(1)
    if len(calls) == 5 and not (here / "sent").exists():
        (here / "reached").write_text("")
        for _ in range(600):
            if (here / "sent").exists():
                break
            time.sleep(0.1)
    return forward(self, batch)

SSLModel.forward = waiting
"""


class Recipe:
    """A copy of the recipe that uses this repository's environment."""

    def __init__(self, folder):
        self.folder = folder / "egs/mini/ssl1"
        for name in ("TEMPLATE", "mini"):
            produced = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads")
            shutil.copytree(ROOT / "egs" / name, folder / "egs" / name, symlinks=True, ignore=produced)

    def start(self, *options, **popen):
        environment = {**os.environ, "MAIN_ROOT": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            ["./run.sh", *options], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen,
        )  # fmt: skip

    def run(self, *options):
        process = self.start(*options)
        output, _ = process.communicate(timeout=600)
        return process.returncode, output

    def written(self):
        """Return path -> modification time of the large files that stages 1 to 5 write."""
        kinds = (".ark", ".pt", ".npy", ".flac")
        return {
            path: path.stat().st_mtime_ns
            for path in self.folder.rglob("*")
            if path.suffix in kinds and "results" not in path.parts
        }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return Recipe(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def finished(recipe):
    status, output = recipe.run(*OPTIONS)
    assert status == 0, output[-3000:]
    return output


def test_help_lists_stages_and_options(recipe):
    status, output = recipe.run("--help")
    assert status == 0
    assert "1 data preparation" in output and "9 results and report" in output
    for option in (
        "--stage 1",
        "--stop_stage 9",
        "--nj ",
        "--train_args",
        "--local_data_opts",
        "--probe_seeds 0,1,2",
        "--tag main",
    ):
        assert option in output, option


def test_dry_run_only_prints(tmp_path):
    recipe = Recipe(tmp_path)
    before = sorted(recipe.folder.rglob("*"))
    status, output = recipe.run(*OPTIONS, "--dry_run", "true")
    assert status == 0, output
    for stage in range(1, 10):
        assert f" stage {stage}: " in output
    for program in (
        "local/data.sh --scale 0.02",
        "ssltoolkit format",
        "ssltoolkit features",
        "ssltoolkit pretrain",
        "ssltoolkit embed",
        "ssltoolkit evaluate",
        "ssltoolkit report",
    ):
        assert program in output, program
    assert sorted(recipe.folder.rglob("*")) == before


def test_configurations_of_another_frontend_have_their_own_features(tmp_path):
    recipe = Recipe(tmp_path)
    for name in ("one", "two"):
        (recipe.folder / f"conf/{name}.yaml").write_text("include: multi_strategy.yaml\nfrontend: {input_level: -26}\n")
    configs = "conf/one.yaml conf/clip_only.yaml conf/two.yaml conf/multi_strategy.yaml"
    status, output = recipe.run(
        *OPTIONS, "--train_configs", configs, "--stage", "3", "--stop_stage", "4", "--dry_run", "true"
    )
    assert status == 0, output
    lines = [line.split() for line in output.splitlines()]
    made = [line[line.index("--out_dir") + 1] for line in lines if "--merge" in line]
    read = [line[line.index("--stats") + 1] for line in lines if "pretrain" in line]
    assert made[1] == "dump/fbank/pretrain" and len(made) == 2 and made[0].startswith("dump/fbank/pretrain_")
    assert read == [f"{made[index]}/stats.npz" for index in (0, 1, 0, 1)]


def test_pre_training_without_features_of_a_configuration_does_not_begin(tmp_path):
    recipe = Recipe(tmp_path)
    status, output = recipe.run(*OPTIONS, "--stage", "4")
    assert (
        status == 2
        and "no dump/fbank/pretrain/stats.npz; run stage 3" in output
        and not (recipe.folder / "exp").exists()
    )


def test_the_former_name_of_the_baseline_is_read_with_a_warning(tmp_path):
    said = [
        Recipe(tmp_path / name).run(
            "--baselines", f"{name}:logmel", "--stage", "5", "--stop_stage", "5", "--dry_run", "true"
        )
        for name in ("floor", "baseline")
    ]
    assert [status for status, _ in said] == [0, 0] and said[0][1].count("former name of baseline:logmel") == 1
    assert all("--model baseline:logmel" in output and "--model floor" not in output for _, output in said)


@pytest.mark.parametrize("name", ["shipped", "owner/name@v1"])
def test_a_model_is_named_as_in_embed(tmp_path, name):
    status, output = Recipe(tmp_path).run(
        "--pretrained", name, "--stage", "5", "--stop_stage", "5", "--dry_run", "true"
    )
    assert status == 0 and f"--model {name} " in output and f"--model random:{name} " in output, output


def test_a_preparation_that_is_not_executable_is_told(tmp_path):
    recipe = Recipe(tmp_path)
    (recipe.folder / "local/data.sh").chmod(0o644)
    status, output = recipe.run("--stop_stage", "1")
    assert status == 2 and "local/data.sh is not executable; run: chmod +x local/data.sh" in output
    (recipe.folder / "local/data.sh").unlink()
    status, output = recipe.run("--stop_stage", "1")
    assert status == 2 and "there is no local/data.sh" in output


MOODS = """
from ssltoolkit.registry import register
from ssltoolkit.tasks import ClassTask, LabelTable, Metric

@register("task", "mood")
class Mood(ClassTask):
    \"""Mood of whole clips, one each.\"""
    labels = LabelTable("utt2mood", "mood", lambda v: None if v.isalpha() else "the mood must be a word", classes=True)
    metrics = (Metric("mood_acc", "mood acc. (%)"),)
"""


@pytest.mark.parametrize(
    "test, message",
    [
        (None, "moods/test/utt2mood: no such file; prepare the data directory first"),
        ("b 7\n", "moods/test/utt2mood:1: the mood must be a word, got '7'"),
        ("b angry\n", "moods/test/utt2mood:1: label(s) in neither train nor valid: angry"),
    ],
)
@pytest.mark.parametrize("stage, place", [(2, "data"), (5, "dump/raw")])
def test_wrong_labels_of_a_plugin_task_are_told_before_the_work(tmp_path, test, message, stage, place):
    recipe = Recipe(tmp_path)
    (recipe.folder / "conf/moods.py").write_text(MOODS)
    (recipe.folder / "conf/moods.yaml").write_text("include: multi_strategy.yaml\nplugins: [moods.py]\n")
    for split in ("train", "valid", "test"):
        data = recipe.folder / place / "moods" / split
        data.mkdir(parents=True)
        (data / "wav.scp").write_text("b b.wav\n")
        text = test if split == "test" else "b sad\n"
        if text is not None:
            (data / "utt2mood").write_text(text)
    tasks = ["--clip_tasks", "", "--sed_tasks", "", "--pitch_tasks", "", "--plugin_tasks", "mood:moods"]
    status, output = recipe.run(*tasks, "--train_configs", "conf/moods.yaml", "--stage", str(stage))
    assert status == 2 and f"error: {place}/{message}" in output and "Traceback" not in output, output
    assert not (recipe.folder / "exp").exists() and not (recipe.folder / "dump/raw/pretrain").exists()


@pytest.mark.parametrize(
    "options, part",
    [
        (["--stgae", "3"], "--stgae"),
        (["--stage", "three"], "--stage must be a whole number"),
        (["--stage", "08"], "--stage must be a whole number"),
        (["4"], "unexpected argument '4'"),
        (["--baselines", "zeros", "--stage", "9"], "'zeros' is not baseline:logmel, untrained or random:<encoder>"),
        (["--train_configs", ""], "--train_configs is empty"),
        (["--probe_mode", "nonsense"], "--probe_mode must be standard, hear, linear or knn, got 'nonsense'"),
        (["--probe_seeds", "0,x"], "--probe_seeds must be whole numbers separated by commas, got '0,x'"),
        (
            ["--reference", "nonsense"],
            "--reference: no model 'nonsense'; there are logmel untrained clip_only multi_strategy",
        ),
        (["--pretrained", "nowhere.pt"], "--pretrained: there is no file 'nowhere.pt'"),
        (["--pretrained", "conf/nowhere"], "--pretrained: there is no file 'conf/nowhere'"),
    ],
)
def test_bad_options(recipe, options, part):
    status, output = recipe.run(*options)
    assert status in (1, 2) and part in output, output
    assert "stage 1:" not in output


def test_whole_walk(recipe, finished):
    for stage in range(1, 10):
        assert f" stage {stage}: " in finished
    exp = recipe.folder / "exp/main"
    table = (exp / "RESULTS.md").read_text()
    for word in ("logmel", "multi_strategy", "clip", "sed", "pitch"):
        assert word in table and word in finished, word
    for model in ("logmel", "multi_strategy"):
        for task in ("clip", "sed", "pitch"):
            assert (exp / f"results/{model}/{task}.json").is_file()
    assert (exp / "multi_strategy/best.pt").is_file() and (exp / "multi_strategy/config.yaml").is_file()
    assert (exp / "multi_strategy/run.sh").read_text().startswith("#!/usr/bin/env bash")


def test_a_second_run_redoes_nothing(recipe, finished):
    before = recipe.written()
    assert {path.suffix for path in before} == {".ark", ".pt", ".npy", ".flac"}
    status, output = recipe.run(*OPTIONS, "--stop_stage", "5")
    assert status == 0, output[-3000:]
    assert recipe.written() == before
    assert "continuing from step 4 of 4" in output and "already there" in output


def test_ctrl_c_in_pre_training_and_a_re_run_continue(recipe, finished):
    (recipe.folder / "waiting.py").write_text(WAITING)
    options = [*OPTIONS, "--stage", "4", "--stop_stage", "4", "--tag", "cut"]
    options[options.index(TRAIN_ARGS)] = (
        TRAIN_ARGS.replace("max_steps=4", "max_steps=9") + " --set plugins=[waiting.py]"
    )
    process = recipe.start(*options, start_new_session=True)
    while not (recipe.folder / "reached").exists():
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    (recipe.folder / "sent").write_text("")
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0, output[-3000:]
    status, output = recipe.run(*options)
    assert status == 0, output[-3000:]
    assert "continuing from step " in output and "continuing from step 9" not in output
    attempts = (recipe.folder / "exp/cut/multi_strategy/train.log").read_text().split("# Started at ")
    assert len(attempts) == 3 and "stopped by SIGINT" in attempts[1] and "continuing from step " in attempts[2]
    assert "stopped by SIGINT" not in output
