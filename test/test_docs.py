"""What the pages say is there: links, anchors, paths, programs and their options; the README's blocks run as they
stand.
"""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ssltoolkit.bin.main import PROGRAMS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("egs/*/ssl1/*.md"), *ROOT.glob("tools/bench/*.md")]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, *languages):
    return [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def anchors(page):
    """Anchors of a page's headings, as code hosts make them."""
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page):
    """Words of every command of a page's shell blocks, without its comment; lines that end in a backslash are
    joined.
    """
    for text in blocks(page, "bash", ""):
        for line in text.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # a line of a script that quotes over lines
                continue
            for start in (i for i, word in enumerate(words) if i == 0 or words[i - 1] in ("&&", "||", ";", "|")):
                end = next((i for i in range(start, len(words)) if words[i] in ("&&", "||", ";", "|")), len(words))
                command = words[start:end]
                while command and re.match(r"^[A-Za-z_]+=", command[0]):
                    command = command[1:]
                if command:
                    yield command


def given(words):
    """Names of the options among some words."""
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the README's commands name."""
    folder, rng = tmp_path_factory.mktemp("readme"), np.random.default_rng(0)
    for name, seconds in (("a.wav", 1.5), ("b.flac", 0.7)):
        soundfile.write(folder / name, 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
    return folder


def readme_commands(first):
    return [command for command in commands(ROOT / "README.md") if command[:2] == ["ssltoolkit", first]]


def test_the_readmes_embeddings(folder):
    (command,) = readme_commands("embed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "ssltoolkit.bin.main", *command[1:]]
    subprocess.run(program, cwd=folder, env=environment, check=True, capture_output=True)
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
