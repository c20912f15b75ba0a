"""Pages: links, anchors, paths, programs and options exist; the commands of README.md and docs/ run."""

import ast
import importlib
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
import torch
from fixtures.recipes import SMALL

from ssltoolkit.bin import evaluate
from ssltoolkit.bin.main import PROGRAMS
from ssltoolkit.config import load_config
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.training.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test/ssltoolkit/evaluation"))

from embedding_corpus import LABELS, clip_corpus  # noqa: E402

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("egs/*/ssl1/*.md"), *ROOT.glob("tools/bench/*.md")]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, *languages):
    return [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def anchors(page):
    """Return the anchors of a page's headings, as code hosts form them."""
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page):
    """Yield the words of every command in a page's shell blocks, without comments; lines ending in a backslash are
    joined.
    """
    for text in blocks(page, "bash", ""):
        for line in text.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # part of a string quoted over several lines
                continue
            for start in (i for i, word in enumerate(words) if i == 0 or words[i - 1] in ("&&", "||", ";", "|")):
                end = next((i for i in range(start, len(words)) if words[i] in ("&&", "||", ";", "|")), len(words))
                command = words[start:end]
                while command and re.match(r"^[A-Za-z_]+=", command[0]):
                    command = command[1:]
                if command:
                    yield command


def given(words):
    """Return the names of the options among these words."""
    return [word.split("=")[0] for word in words if re.fullmatch(r"--[a-z][\w-]*(=.*)?", word)]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name}: no heading for {target}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_programs_have_the_options_that_are_shown(page):
    for command in commands(page):
        if command[0] != "ssltoolkit" or len(command) < 2 or command[1].startswith("-") or command[1] == "...":
            continue
        assert command[1] in PROGRAMS, f"{page.name}: ssltoolkit {command[1]}"
        parser = importlib.import_module("ssltoolkit.bin." + command[1].replace("-", "_")).parser()
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(given(command[2:])) <= known, f"{page.name}: {' '.join(command)}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_recipes_have_the_options_that_are_shown(page):
    template = (ROOT / "egs/TEMPLATE/ssl1/ssl.sh").read_text(encoding="utf-8")
    everywhere = set(re.findall(r"^([a-z_]+)=", template, re.MULTILINE)) | {"help", "end_of_defaults", "config"}
    for command in commands(page):
        if not re.search(r"(^|/)(run|ssl|curves)\.sh$", command[0]) or command[0].startswith("test/"):
            continue
        script = ROOT / command[0] if command[0].startswith("egs/") else page.parent / command[0]
        script = script if script.is_file() else ROOT / "egs/custom/ssl1" / script.name
        known = everywhere | set(re.findall(r"\b([a-z_]+)(?:=| ?\|)", script.read_text(encoding="utf-8")))
        for option in given(command[1:]):
            assert option[2:].replace("-", "_") in known, f"{page.name}: {' '.join(command)}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"(?<![\w./-])((?:ssltoolkit|tools|utils|test|docs)/[\w./-]*\.(?:py|sh|md|yaml|txt))", text):
        assert (ROOT / name).exists() or (page.parent / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_blocks_are_python(page):
    for text in blocks(page, "python"):
        ast.parse(text)


#: page -> test that runs all its blocks
RUN_BY = {
    "docs/add_a_dataset.md": "test/egs/test_docs_dataset.py",
    "docs/add_a_task.md": "test/ssltoolkit/test_docs_task.py",
}
#: start of lines that are not run here -> reason
NOT_RUN = {
    "bash tools/setup.sh": "fetches packages",
    "bash test/run.sh": "runs these tests",
    ". tools/venv/bin/activate": "the shell of the set-up; the tests have its programs",
    "pip install": "fetches packages",
    "ssltoolkit doctor": "its status is that of the machine; test_doctor.py runs it on a sound and a damaged one",
    "ssltoolkit evaluate --task sed ... --psds": "needs the extra psds; test_psds.py",
    "ssltoolkit export --model shipped --output general.onnx": "half a minute; test_onnx.py exports small models",
    "ssltoolkit embed a.wav -o out.npz --model general.onnx": "as above",
    "ssltoolkit explore --audio_dir data": "as the block above it, with the sounds that mini generates",
    'grep -o \'"louder/loss"': "needs the run of the line before; test_docs_plugins.py trains it",
    "torchrun": "the dots stand for a configuration and data; test_launch.py",
    "ssltoolkit embed a.wav -o out.npz --model peer:": "needs the extra peers; test_peers.py",
    "python3 tools/peer_notes.py": "needs the extra peers and a soundfont's notes",
    "python3 tools/adapters_validate.py": "needs the suites of others, which fetch data",
    "python tools/hear_parity.py": "fetches hear-eval-kit and its packages",
    "python tools/interval_coverage.py": "simulates thousands of test sets",
}
#: page -> working directory of its commands, if not the repository
PLACES = {"docs/evaluation.md": "scores", "docs/long_runs.md": "egs/mini/ssl1", "docs/results.md": "egs/realaudio/ssl1"}
#: page -> text in place of its dots
DOTS = {"docs/evaluation.md": "--hear_task DIR --embed_dir E --output fractions.json"}
RUN = [
    name
    for page, name in zip(PAGES, NAMES)
    if re.match(r"README|docs/", name) and name not in RUN_BY and blocks(page, "bash")
]


def lines_of(page):
    """Return the lines of each shell block; lines that end in a backslash are joined."""
    return [text.replace("\\\n", " ").splitlines() for text in blocks(page, "bash")]


def as_run(line, name):
    """Return the line that is run here, or None: recipes take long and print their commands only; probes are quick."""
    if any(line.startswith(begin) for begin in NOT_RUN):
        return None
    line = re.sub(r"\s+#.*", "", line).replace(" ... ", f" {DOTS.get(name, '...')} ")
    if line.startswith("ssltoolkit evaluate") and "--output" in line:
        line += " --quick true --seeds 0"
    return f"{line} --dry_run true" if re.search(r"(^|[ /])run\.sh\b", line) else line


def recordings(folder, count=14):
    """Write short noise recordings in subfolders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number % 3}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(4000 + 700 * number), 16000)


def scores(folder):
    """Write embeddings ``E``, their labels as a HEAR task ``DIR``, and results under the names of a page."""
    clip_corpus(folder).joinpath("embed").rename(folder / "E")
    task = {"task_name": "t", "embedding_type": "scene", "prediction_type": "multiclass", "evaluation": ["top1_acc"]}
    task.update(splits=["train", "valid", "test"], split_mode="trainvaltest", sample_duration=4.0)
    (folder / "DIR").mkdir()
    (folder / "DIR/task_metadata.json").write_text(json.dumps(task))
    rows = [f"{number},{label}\n" for number, label in enumerate(LABELS)]
    (folder / "DIR/labelvocabulary.csv").write_text("idx,label\n" + "".join(rows))
    for split in task["splits"]:
        lines = (folder / "data" / split / "utt2label").read_text().split("\n")[:-1]
        labels = {f"{utt}.wav": [label] for utt, label in map(str.split, lines)}
        (folder / "DIR" / f"{split}.json").write_text(json.dumps(labels))
    options = ["--task", "clip", "--task_name", "t", "--model", "m", "--quick", "true", "--seeds", "0,1"]
    options += ["--embed_dir", str(folder / "E"), "--data_dir", str(folder / "data")]
    for name in ("A", "B", "exp/seed0/results/m/t", "exp/seed1/results/m/t"):
        assert evaluate.main([*options, "--output", str(folder / f"{name}.json")]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A repository of copied recipes with the files that the pages' commands use, and ssltoolkit as a program."""
    folder, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)
    for name, seconds in (("a.wav", 1.5), ("b.flac", 0.7), ("QUERY.wav", 0.6)):
        soundfile.write(folder / name, 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
    produced = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads")
    for name in ("TEMPLATE", "mini", "custom", "realaudio"):
        shutil.copytree(ROOT / "egs" / name, folder / "egs" / name, symlinks=True, ignore=produced)
    (folder / "ssltoolkit").symlink_to(ROOT / "ssltoolkit")
    for language, name in (("python", "louder.py"), ("yaml", "louder.yaml")):
        text = blocks(ROOT / "docs/add_a_sampler.md", language)[0]
        (folder / "egs/mini/ssl1/conf" / name).write_text(text, encoding="utf-8")
    recordings(folder / "DIR")
    small = SMALL.replace("--set ", "").split()
    config = load_config(ROOT / "egs/TEMPLATE/ssl1/conf/default.yaml", small)
    for place in (".", "egs/custom/ssl1"):
        best = folder / place / "exp/main/multi_strategy/best.pt"
        best.parent.mkdir(parents=True)
        save_checkpoint(best, {"config": config, "model": build_model(config).state_dict(), "step": 2})
    programs = folder / "programs"
    programs.mkdir()
    (programs / "ssltoolkit").write_text(f'#!/bin/sh\nexec {sys.executable} -m ssltoolkit.bin.main "$@"\n')
    (programs / "ssltoolkit").chmod(0o755)
    return folder


def shell(script, folder, place):
    """Run a shell block; returns its output."""
    environment = {**os.environ, "MAIN_ROOT": str(ROOT), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{folder / 'programs'}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder / place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, (script, done.stdout[-3000:])
    return done.stdout


#: (folder, command) pairs that have been run: pages repeat some
DONE = set()


@pytest.mark.parametrize("name", RUN)
def test_commands_run(folder, name):
    """Run each block in its own shell; the files that its commands write exist afterwards."""
    place = folder / PLACES.get(name, ".")
    if name == "docs/evaluation.md":
        scores(place)
    for lines in lines_of(ROOT / name):
        script = [line for line in (as_run(line, name) for line in lines) if line and (place, line) not in DONE]
        output = shell("\n".join(script), folder, place)
        assert all(" stage " in output for line in script if line.endswith("--dry_run true"))
        here = place
        for line in script:
            here = here / line.split()[1] if line.startswith("cd ") else here
            words = [] if line.endswith("--dry_run true") else shlex.split(line)
            written = [words[i + 1] for i, word in enumerate(words) if word in ("-o", "--output")]
            assert all((here / path).exists() for path in written), line
            DONE.add((here, line))


def test_what_is_not_run_is_in_the_pages():
    every = [line for page in RUN for lines in lines_of(ROOT / page) for line in lines]
    assert [begin for begin in NOT_RUN if not any(line.startswith(begin) for line in every)] == []
    for page, test in RUN_BY.items():
        assert page in (ROOT / test).read_text(encoding="utf-8") and blocks(ROOT / page, "bash")


def test_the_readmes_embeddings(folder):
    (command,) = [command for command in commands(ROOT / "README.md") if command[:2] == ["ssltoolkit", "embed"]]
    shell(shlex.join(command), folder, ".")
    found = np.load(folder / "embeddings.npz")
    for name in ("a", "b"):
        frames, times = found[f"{name}.frames"], found[f"{name}.times_ms"]
        assert found[f"{name}.scene"].ndim == 1 and len(frames) == len(times) > 10


def test_the_readmes_python(folder):
    (code,) = blocks(ROOT / "README.md", "python")
    audio, _ = soundfile.read(folder / "a.wav", dtype="float32")
    values = {"audio": torch.from_numpy(np.stack([audio, audio[::-1]]))}
    exec(compile(code, "README.md", "exec"), values)  # noqa: S102
    assert values["scenes"].shape == (2, values["model"].scene_embedding_size)
    assert values["frames"].shape[:2] == values["times_ms"].shape
