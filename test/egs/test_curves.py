"""egs/realaudio: curves.py: the table of scores, the figures, and errors on the command line."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "egs/realaudio/ssl1"


@pytest.fixture(scope="module")
def curves():
    spec = importlib.util.spec_from_file_location("realaudio_curves", RECIPE / "local/curves.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # NamedTuple looks up its module here
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scores(curves):
    found = [curves.Score("untrained", 0.0, 0, "words", "accuracy (%)", 70.0, 67.0, 73.0)]
    for model, gain in (("clip", 0.0), ("all", 3.0)):
        for hours, steps in ((0.5, 100), (2.0, 100), (8.0, 100), (8.0, 1000)):
            mean = 70 + gain + hours / 2 + steps / 500
            found.append(curves.Score(model, hours, steps, "words", "accuracy (%)", mean, mean - 2, mean + 2))
    return found


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(RECIPE.parents[2])}
    return subprocess.run(
        [sys.executable, str(RECIPE / "local/curves.py"), *arguments], env=environment, capture_output=True, text=True
    )


def test_a_table_is_read_as_it_was_written_and_drawn(curves, scores, tmp_path):
    curves.write_table(tmp_path / "in.tsv", scores)
    assert curves.read_table(tmp_path / "in.tsv") == scores
    assert curves.common_steps([score for score in scores if score.hours]) == 100
    done = run("--table", str(tmp_path / "in.tsv"), "--tasks", "words", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/curves.tsv").read_text() == (tmp_path / "in.tsv").read_text()
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_one_line(curves, scores, tmp_path):
    curves.write_table(tmp_path / "in.tsv", scores)
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    (tmp_path / "empty").mkdir()
    out = ("--output", str(tmp_path / "out"))
    for arguments, reported in (
        (("--table", str(tmp_path / "in.tsv"), "--tasks", "wrods"), "no scores of 'wrods'; there are words"),
        (("--table", str(tmp_path / "other.tsv")), "not a table of scores"),
        (("--results", str(tmp_path / "empty"), "--pool", str(tmp_path)), "no results below <hours>_<steps>/results"),
    ):
        done = run(*arguments, *out)
        assert done.returncode == 2 and reported in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments, reported",
    [
        (["--points", "2:x"], "'2:x' is not HOURS:STEPS or all:STEPS"),
        (["--tag", "mine"], "--tag is set for each point"),
        (["--points"], "--points needs a value"),
        (["points"], "unexpected argument 'points'"),
    ],
)
def test_curves_sh_refuses(arguments, reported):
    done = subprocess.run([str(RECIPE / "curves.sh"), *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and reported in done.stderr
