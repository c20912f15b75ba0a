"""The task of docs/add_a_task.md, as printed: a recipe runs it from audio to the report, with no other change."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
#: timeout of a command in seconds: the stages take two minutes on an idle machine, longer on a busy one
HANGS = 1800
PAGE = (ROOT / "docs/add_a_task.md").read_text(encoding="utf-8")
ONLY_THIS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
CODE, YAML, COMMANDS = (
    re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
    for language in ("python", "yaml", "bash")
)
SETTINGS = (
    "encoder.width=4 encoder.embed_dim=32 training.max_steps=4 training.batch_size=8 training.threads=1 "
    "training.precision=fp32 training.log_interval=1 "
    "training.valid_interval=4 training.checkpoint_interval=4 training.collapse_rank=0 scheduler.warmup_steps=2"
)
SPLITS = {"train": 48, "valid": 16, "test": 16}


def clicks(bpm, rng):
    """Two seconds of clicks; the mean level grows with the tempo."""
    wave = 0.002 * rng.standard_normal(32000)
    for start in np.arange(rng.uniform(0, 60 / bpm), 2, 60 / bpm):
        place = int(16000 * start)
        wave[place : place + 400] += 0.5 * rng.standard_normal(len(wave[place : place + 400]))
    return np.clip(wave, -1, 1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A copy of the recipe mini after all its stages, with the page's files in conf/ and clicks as its corpus."""
    folder, rng = tmp_path_factory.mktemp("task"), np.random.default_rng(0)
    for name in ("TEMPLATE", "mini"):
        produced = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads")
        shutil.copytree(ROOT / "egs" / name, folder / "egs" / name, symlinks=True, ignore=produced)
    ssl1 = folder / "egs/mini/ssl1"
    (ssl1 / "conf/tempo.py").write_text(CODE)
    (ssl1 / "conf/loops.yaml").write_text(YAML)
    sets = {"pretrain": 12, "pretrain_valid": 4, **{f"loops/{split}": count for split, count in SPLITS.items()}}
    for name, count in sets.items():
        data = ssl1 / "data" / name
        data.mkdir(parents=True)
        tempos = [int(60 * 2 ** (2 * (index + 0.5) / count)) for index in range(count)]
        for index, tempo in enumerate(tempos):
            soundfile.write(data / f"{index:02d}.wav", clicks(tempo, rng), 16000)
        (data / "wav.scp").write_text("".join(f"u{index:02d} {data / f'{index:02d}.wav'}\n" for index in range(count)))
        if name.startswith("loops"):
            (data / "utt2tempo").write_text("".join(f"u{index:02d} {tempo}\n" for index, tempo in enumerate(tempos)))
    command = COMMANDS.splitlines()[0].split("#")[0].split()
    options = "--stage 2 --clip_tasks= --sed_tasks= --pitch_tasks= --baselines baseline:logmel --nj 1".split()
    options += ["--probe_seeds", "0,1", "--quick_probe", "true"]
    options += ["--train_args", " ".join(f"--set {setting}" for setting in SETTINGS.split())]
    call(ssl1, [*command, *options])
    return ssl1


def call(ssl1, command, status=0):
    environment = {**os.environ, "MAIN_ROOT": str(ROOT), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ssl1, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS
    )
    assert done.returncode == status, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def program(ssl1, name, *arguments, status=0):
    """Run one program of the toolkit in the recipe's folder; returns its output."""
    return call(ssl1, [sys.executable, "-m", "ssltoolkit.bin.main", name, *arguments], status)


def test_the_page_is_short():
    assert len(CODE.splitlines()) < 60 and len(PAGE.splitlines()) < 120


def test_the_task_runs_from_audio_to_the_report(recipe):
    for model in ("logmel", "loops"):
        result = json.loads((recipe / f"exp/main/results/{model}/loops.json").read_text())
        assert (
            result["task"] == "tempo"
            and list(result["scores"]) == ["tempo_acc1", "tempo_error"]
            and result["meta"]["num_classes"] == 0
        )
        for score in result["scores"].values():
            assert score["ci95"][0] <= score["mean"] <= score["ci95"][1]
    with np.load(recipe / "exp/main/results/logmel/loops.npz") as arrays:
        true, predicted = (120 * 2 ** arrays[name][..., 0] for name in ("targets", "predictions"))
        right, error = arrays["counts:tempo_acc1"][..., 0], arrays["counts:tempo_error"][..., 0]
    assert true.tolist() == pytest.approx(
        [int(line.split()[1]) for line in (recipe / "data/loops/test/utt2tempo").read_text().splitlines()], rel=1e-4
    )
    np.testing.assert_allclose(error, np.abs(predicted - true), rtol=1e-5)
    assert (right == (np.abs(predicted - true) <= 0.04 * true)).all()
    assert error.mean() < 0.6 * np.abs(true - np.median(true)).mean()  # error of the best constant
    text, page = ((recipe / "exp/main" / name).read_text() for name in ("RESULTS.md", "report.html"))
    assert (
        "tempo acc. 1 (%)" in text
        and "tempo error (BPM) ↓" in text
        and "0 classes" not in text
        and "Difference to loops" in text
    )
    assert (
        "predicted over true" in page and (recipe / "exp/main/pictures/numbers_loops_logmel.png").stat().st_size > 5000
    )
    worse = max(
        ("logmel", "loops"),
        key=lambda name: json.loads((recipe / f"exp/main/results/{name}/loops.json").read_text())["scores"][
            "tempo_error"
        ]["mean"],
    )
    row = next(line for line in text.splitlines() if line.startswith(f"| {worse} |"))
    assert not row.rstrip(" |").endswith("**")  # the smallest error is the best


def test_the_commands_of_the_page(recipe):
    embeddings = "exp/main/embed/logmel/loops"
    evaluate, compare, report = (line.split()[1:] for line in COMMANDS.splitlines()[1:])
    said = program(
        recipe,
        *[{"E": embeddings, "R.json": "wide/logmel/loops.json"}.get(word, word) for word in evaluate],
        "--quick",
        "true",
        "--seeds",
        "0",
    )
    assert "tempo_acc1" in said
    wide = json.loads((recipe / "wide/logmel/loops.json").read_text())
    narrow = json.loads((recipe / "exp/main/results/logmel/loops.json").read_text())
    assert wide["task_options"] == {"tolerance": 0.08} and "task_options" not in narrow
    assert wide["scores"]["tempo_acc1"]["per_seed"][0] >= narrow["scores"]["tempo_acc1"]["per_seed"][0]
    paths = {"A.json": "exp/main/results/logmel/loops.json", "B.json": "exp/main/results/loops/loops.json"}
    assert "tempo_error: " in program(recipe, *[paths.get(word, word) for word in compare])
    assert "tempo error (BPM)" in program(recipe, *report, "--pictures", "false")


def test_only_this_task_on_the_shipped_model(recipe):
    (command,) = ONLY_THIS.replace("\\\n", " ").splitlines()
    words = shlex.split(command, comments=True)
    said = call(recipe, [*words, "--probe_seeds", "0", "--quick_probe", "true", "--nj", "1"])
    result = json.loads((recipe / "exp/loops/results/pretrained/loops.json").read_text())
    assert result["meta"]["embeddings"]["model"] == "shipped" and "pretrain" not in said.split("stage 3")[0]
    assert "data/loops: tempo, 80 files with utt2tempo" in said


@pytest.mark.parametrize("mode", ["knn", "linear"])
def test_other_probes_and_a_share_of_the_files(recipe, mode):
    options = [
        "--embed_dir",
        "exp/main/embed/logmel/loops",
        "--data_dir",
        "dump/raw/loops",
        "--output",
        f"{mode}/m/loops.json",
        "--quick",
        "true",
        "--seeds",
        "0",
    ]
    small = ["--metrics", "tempo_error", "--label_fraction", "0.5"]
    assert "tempo_error" in program(
        recipe, "evaluate", "--task", "tempo", "--plugins", "conf/tempo.py", *options, *small, "--probe_mode", mode
    )
    result = json.loads((recipe / f"{mode}/m/loops.json").read_text())
    assert result["meta"]["train_files"] == [24] and result["scores"]["tempo_error"]["mean"] < 45


@pytest.mark.parametrize(
    "options, message",
    [
        (["--task", "tempo"], "--task: no task 'tempo'"),
        (
            ["--task", "tempo", "--plugins", "conf/tempo.py", "--set", "tolerence=1"],
            "--task.tolerence: task 'tempo' has no parameter 'tolerence'; did you mean 'tolerance'?",
        ),
        (
            ["--task", "tempo", "--plugins", "conf/tempo.py", "--metrics", "top1_acc"],
            "--metrics top1_acc: task 'loops' has tempo_acc1, tempo_error",
        ),
        (
            ["--task", "tempo", "--plugins", "conf/tempo.py", "--data_dir", "broken"],
            "broken/test/utt2tempo:2: the tempo must be a whole number of beats a minute, 20 to 400, got 'fast'",
        ),
        (
            ["--compare", "exp/main/results/logmel/loops.json", "exp/main/results/loops/loops.json"],
            "logmel/loops.json: no task 'tempo' is registered; load the plugin that defines it with --plugins",
        ),
    ],
)
def test_what_is_wrong_is_told(recipe, options, message):
    if not (recipe / "broken").exists():
        shutil.copytree(recipe / "dump/raw/loops", recipe / "broken")
        table = recipe / "broken/test/utt2tempo"
        table.write_text(re.sub(r"^u01 .*$", "u01 fast", table.read_text(), flags=re.MULTILINE))
    where = (
        []
        if "--compare" in options
        else ["--embed_dir", "exp/main/embed/logmel/loops", "--data_dir", "dump/raw/loops", "--output", "wrong.json"]
    )
    said = program(recipe, "evaluate", *where, *options, status=2)
    assert message in said and "Traceback" not in said


def test_a_report_without_the_plugin_says_what_to_name(recipe):
    said = program(recipe, "report", "--results", "exp/main/results", "--output", "none", status=2)
    assert "no task 'tempo' is registered; load the plugin that defines it with --plugins" in said


def test_a_data_set_of_two_tasks_is_refused(recipe):
    said = call(
        recipe, ["./run.sh", "--stage", "9", "--clip_tasks", "loops", "--plugin_tasks", "tempo:loops"], status=2
    )
    assert "dataset 'loops' is given for two tasks" in said
    assert "--plugin_tasks must be task:name" in call(
        recipe, ["./run.sh", "--stage", "9", "--plugin_tasks", "loops"], status=2
    )


def test_a_list_of_the_task_becomes_data_directories(recipe):
    rows = [
        "path\ttempo\tsplit",
        *(f"data/loops/{split}/0{n}.wav\t{80 + n}\t{split}" for split in SPLITS for n in range(2)),
    ]
    (recipe / "list.tsv").write_text("\n".join([*rows, ""]))
    code = "from ssltoolkit.config import load_plugins; from ssltoolkit.data.lists import write_task; load_plugins(['conf/tempo.py']); write_task('list.tsv', 'tempo', 'listed')"
    call(recipe, [sys.executable, "-c", code])
    assert (recipe / "listed/valid/utt2tempo").read_text() == "0-00 80\n1-01 81\n"
