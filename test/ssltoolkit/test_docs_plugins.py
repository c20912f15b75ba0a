"""Examples of the documentation, as printed: a recipe trains with a new file and no other change.

Each component has a row in the table of docs/configuration.md.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssltoolkit.stages.format import Formatter

ROOT = Path(__file__).resolve().parents[2]
SAMPLER, ENCODER_PAGE, COMPONENTS = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("add_a_sampler", "add_an_encoder", "configuration")
)
SMALL = "encoder.width=4 encoder.embed_dim=32"
SETTINGS = (
    "training.max_steps=30 training.batch_size=8 training.threads=1 training.precision=fp32 training.log_interval=1 "
    "training.valid_interval=30 training.checkpoint_interval=30 training.collapse_rank=0 scheduler.warmup_steps=2 "
    "optimizer.lr=1e-2"
)


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def example_of_docs():
    """The sampler's file and the YAML that uses it, as printed in docs/add_a_sampler.md."""
    code = next(block for block in blocks(SAMPLER, "python") if '@register("sampler"' in block)
    return code, next(block for block in blocks(SAMPLER, "yaml") if "plugins: [louder.py]" in block)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A copy of the recipe mini with a few formatted clips instead of its corpus."""
    folder = tmp_path_factory.mktemp("plugin")
    for name in ("TEMPLATE", "mini"):
        produced = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads")
        shutil.copytree(ROOT / "egs" / name, folder / "egs" / name, symlinks=True, ignore=produced)
    ssl1, rng = folder / "egs/mini/ssl1", np.random.default_rng(0)
    for name, count in (("pretrain", 12), ("pretrain_valid", 4)):
        data = ssl1 / "data" / name
        data.mkdir(parents=True)
        lines = []
        for index in range(count):
            time = np.arange(19200) / 16000
            tone = sum(np.sin(2 * np.pi * k * 110 * 2 ** (index / 4) * time) / k for k in range(1, 5))
            soundfile.write(data / f"{index:02d}.wav", 0.1 * tone + 0.01 * rng.standard_normal(len(time)), 16000)
            lines.append(f"{name}{index:02d} {data / f'{index:02d}.wav'}\n")
        (data / "wav.scp").write_text("".join(lines))
        formatter = Formatter(data, ssl1 / "dump/raw" / name, 16000)
        formatter.run_job(1, 1)
        formatter.finish(0.0)
    run(ssl1, 3, "conf/multi_strategy.yaml", "")
    return ssl1


def run(ssl1, stage, config, train_args):
    environment = {**os.environ, "MAIN_ROOT": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = [
        "--stage",
        str(stage),
        "--stop_stage",
        str(stage),
        "--train_configs",
        config,
        "--nj",
        "1",
        "--train_args",
        train_args,
    ]
    done = subprocess.run(
        ["./run.sh", *options],
        cwd=ssl1,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def sources(ssl1):
    """Return path -> content of every file of the copy that is not data or a result."""
    produced = {ssl1 / name for name in ("data", "dump", "exp")}
    files = [
        path
        for path in ssl1.parents[2].rglob("*")
        if path.is_file() and not produced & set(path.parents) and "__pycache__" not in path.parts
    ]
    return {path: path.read_bytes() for path in files}


def train(ssl1, name, yaml, files, more=""):
    """Run stage 4 with new files in conf/ and assert that no other file changed; returns the losses of each step."""
    before = sources(ssl1)
    for file, text in {**files, f"{name}.yaml": yaml}.items():
        (ssl1 / "conf" / file).write_text(text)
    run(ssl1, 4, f"conf/{name}.yaml", " ".join(f"--set {setting}" for setting in f"{SETTINGS} {more}".split()))
    after = sources(ssl1)
    assert {path.name for path in after.keys() - before.keys()} == {*files, f"{name}.yaml"} and all(
        after[path] == before[path] for path in before
    )
    lines = (ssl1 / f"exp/main/{name}/train_log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["split"] == "train"]


def falls(log, key):
    values = [line[key] for line in log]
    assert len(values) == 30
    return np.mean(values[-6:]) < 0.8 * np.mean(values[:6]), values


def test_the_sampler_of_the_docs_trains(recipe):
    code, yaml = example_of_docs()
    assert len(code.splitlines()) <= 40
    log = train(recipe, "louder", yaml, {"louder.py": code}, SMALL)
    fell, values = falls(log, "louder/loss")
    assert fell, values
    assert "clip/loss" in log[0] and (recipe / "exp/main/louder/best.pt").is_file()


def test_the_clip_level_sampler_of_the_docs_trains(recipe):
    code = next(block for block in blocks(SAMPLER, "python") if "class TwoLevelsSampler" in block)
    imports = example_of_docs()[0].split("\n\n\n")[0].replace("import Differ", "import DensePairs, Differ")
    assert len(code.splitlines()) <= 15
    change = "strategies: {clip: {sampler: {name: two_levels}}}"
    yaml = f"include: clip_only.yaml\nplugins: [two_levels.py]\n{change}\n"
    log = train(recipe, "two_levels", yaml, {"two_levels.py": f"{imports}\n\n\n{code}"}, SMALL)
    fell, values = falls(log, "clip/loss")
    assert fell, values


def test_an_encoder_and_a_loss_of_a_file_each_train(recipe):
    files = {re.match(r"# (\w+\.py)", block)[1]: block for block in blocks(ENCODER_PAGE, "python")}
    assert set(files) == {"bands.py", "pull.py"}
    log = train(recipe, "own", blocks(ENCODER_PAGE, "yaml")[0], files)
    fell, values = falls(log, "clip/loss")
    assert fell, values


def test_components_marks_plugins(program, tmp_path):
    (tmp_path / "louder.py").write_text(example_of_docs()[0])
    done = program("components", "--kind", "sampler", "--plugins", "louder.py")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert (
        lines["louder"].endswith(f"[plugin: {tmp_path / 'louder.py'}]")
        and "The same segment at two levels" in lines["louder"]
    )
    assert all("[plugin" not in line for name, line in lines.items() if name != "louder")


def test_the_table_of_components_is_current(program):
    done = program("components", "--markdown")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "[plugin: " not in line]  # of installed packages
    between = re.search(r"<!-- components: begin .*?-->\n(.*?)<!-- components: end -->", COMPONENTS, re.DOTALL)
    assert between is not None and between.group(1).strip().splitlines() == lines, (
        "copy the output of: ssltoolkit components --markdown"
    )
