"""egs/custom: another folder of audio does not resume the first one's model; run.sh of an experiment repeats it."""

import os
import re
import shutil
import subprocess

import torch
from fixtures.recipes import ROOT, SMALL
from fixtures.sounds import write


def folder_of(folder, prefix, count=8):
    for number in range(count):
        write(folder / f"{prefix}{number}.wav", 1.0, midi=50 + number)
    return folder


def test_other_audio_with_the_same_tag_is_refused(recipe, tmp_path):
    walk = recipe("custom").run
    options = [
        "--train_configs",
        "conf/clip_only.yaml",
        "--valid_share",
        "0.3",
        "--baselines",
        "",
        "--nj",
        "1",
        "--train_args",
        SMALL,
    ]
    first, second = (folder_of(tmp_path / name, name) for name in ("drums", "birds"))
    status, said = walk("--audio_dir", first, "--stop_stage", "4", *options)
    assert status == 0, said
    status, said = walk("--audio_dir", second, *options)
    assert status == 2, said
    assert (
        "clip_only/last.pt was trained with other training data (" in said
        and "other statistics (--stats); give another exper" in said
    )
    assert "Traceback" not in said and "continuing from step" not in said


def test_run_sh_of_an_experiment_repeats_it(recipe, tmp_path):
    """The experiment's run.sh, called from another folder without the variables of the first call, prepares the same
    data and trains the same weights.
    """
    custom = recipe("custom")
    folder, exp = custom.folder, custom.folder / "exp/a=1/clip_only"
    options = [
        "--train_configs",
        "conf/clip_only.yaml",
        "--baselines",
        "",
        "--nj",
        "1",
        "--tag",
        "a=1",
        "--stop_stage",
        "4",
        "--train_args",
        SMALL,
    ]
    status, said = custom.run("--audio_dir", folder_of(tmp_path / "my drums", "x"), "--valid_share", "0.3", *options)
    assert status == 0, said
    weights, script = torch.load(exp / "last.pt", weights_only=True)["model"], tmp_path / "again.sh"
    assert os.access(exp / "run.sh", os.X_OK)
    shutil.copy(exp / "run.sh", script)
    for name in ("data", "dump", "exp"):
        shutil.rmtree(folder / name)
    clean = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "OMP_NUM_THREADS", "SSLTOOLKIT_VENV")
    }
    done = subprocess.run(
        [script], cwd=tmp_path, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    again = torch.load(exp / "last.pt", weights_only=True)["model"]
    assert weights.keys() == again.keys() and all(torch.equal(weights[name], again[name]) for name in weights)
    assert len(custom.table("pretrain/wav.scp")) + len(custom.table("pretrain_valid/wav.scp")) == 8
    done = subprocess.run(
        [script, "--dry_run", "true"],
        cwd=tmp_path,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "ssltoolkit pretrain" in done.stdout


def test_a_configuration_file_sets_options_of_the_recipe_too(recipe, tmp_path):
    audio = folder_of(tmp_path / "drums", "x")
    (tmp_path / "my.conf").write_text(f"audio_dir={audio}\ndry_run=true\ntrain_configs=conf/clip_only.yaml\ntag=mine\n")
    status, said = recipe("custom").run("--config", tmp_path / "my.conf", "--stage", "4", "--stop_stage", "4")
    assert status == 0, said
    assert "exp/mine/clip_only" in said and "multi_strategy" not in said


def test_the_task_of_a_plugin_on_a_list(recipe, tmp_path):
    """Run the task of docs/add_a_task.md."""
    custom, audio = recipe("custom"), folder_of(tmp_path / "my loops", "x", 10)
    page = (ROOT / "docs/add_a_task.md").read_text(encoding="utf-8")
    (custom.folder / "conf/tempo.py").write_text(re.search(r"^```python\n(.*?)^```$", page, re.M | re.S)[1])
    (custom.folder / "conf/loops.yaml").write_text(re.search(r"^```yaml\n(.*?)^```$", page, re.M | re.S)[1])
    splits = ["train"] * 3 + ["valid"] + ["test"] * 2
    rows = [f"my loops/x{number}.wav\t{80 + number}\t{split}\n" for number, split in enumerate(splits)]
    (tmp_path / "tempo list.tsv").write_text("path\ttempo\tsplit\n" + "".join(rows))
    given = ["--audio_dir", audio, "--train_configs", "conf/clip_only.yaml conf/loops.yaml", "--valid_share", "0.3"]
    options = [*given, "--eval_task", f"tempo:{tmp_path / 'tempo list.tsv'}"]
    status, said = custom.run(*options, "--stop_stage", "1")
    assert status == 0 and "2 left out (test files)" in said, said
    assert list(custom.table("tempo/test/utt2tempo").values()) == ["84", "85"]
    heard = {**custom.table("pretrain/wav.scp"), **custom.table("pretrain_valid/wav.scp")}
    assert len(heard) == 8 and not any(path.endswith(("x4.wav", "x5.wav")) for path in heard.values())
    status, said = custom.run(*options, "--stage", "5", "--dry_run", "true")
    assert status == 0 and "ssltoolkit evaluate --task tempo --task_name tempo --model loops" in said
    assert "--kind task:tempo task:tempo task:tempo" in said and "--config conf/loops.yaml" in said
    unnamed = (
        "--eval_task: no task 'tempi'; did you mean 'tempo'? (known: clip, pitch, sed, tempo); name its plugin file"
    )
    for task, reported in (("tempi:a.tsv", unnamed), ("tempo", "--eval_task must be TASK:LIST.tsv, got 'tempo'")):
        status, said = custom.run(*given, "--eval_task", task, "--stop_stage", "1")
        assert status == 2 and reported in said and "Traceback" not in said, said
