"""docs/add_a_dataset.md: its code blocks, run as printed."""

import csv
import os
import re
import shutil
import subprocess
from pathlib import Path

from fixtures.sounds import write

ROOT = Path(__file__).resolve().parents[2]
#: timeout of a command in seconds: the recipe's ten steps take two minutes on an idle machine, longer on a busy one
HANGS = 1800
TUTORIAL, TABLE = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("add_a_dataset.md", "datasets.md"))


def tutorial():
    """(language, text) of each code block of the page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)


def birds(folder):
    """Write the files that the tutorial assumes: recordings and labels.csv."""
    rows = []
    for number in range(24):
        label = ("blackbird", "wren")[number % 2]
        name = f"recordings/{number:02d}.wav"
        write(folder / name, 0.8, 22050, label)
        rows.append([name, label, "train" if number < 16 else "valid" if number < 20 else "test"])
    with open(folder / "labels.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["file", "label", "split"], *rows])
    return folder


def test_the_tutorial(tmp_path):
    produced = shutil.ignore_patterns("data", "dump", "exp", "log", "downloads")
    for name in ("TEMPLATE", "urban_sed"):
        shutil.copytree(ROOT / "egs" / name, tmp_path / "egs" / name, symlinks=True, ignore=produced)
    (tmp_path / "utils").symlink_to(ROOT / "utils")
    data, recipe = birds(tmp_path / "birds"), tmp_path / "egs/birds/ssl1"
    environment = {**os.environ, "MAIN_ROOT": str(ROOT), "OMP_NUM_THREADS": "1"}
    files, commands, place = {}, [], tmp_path
    for language, text in tutorial():
        named = re.match(r"(?:#!.*\n)?# ([\w/]+\.(?:py|sh))\b", text)
        if named:
            files[named[1]] = language
            (recipe / named[1]).write_text(text)
            continue
        commands.append(text)
        if text.startswith("BIRDS=/data/birds ./run.sh\n"):
            text = text.replace("./run.sh", "./run.sh --dry_run true")  # the full run takes too long
        script = text.replace("/data/birds", str(data))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANGS,
        )
        assert done.returncode == 0, (text, (done.stdout + done.stderr)[-3000:])
        place = recipe
    assert files == {"local/prepare.py": "python", "local/data.sh": "bash", "run.sh": "bash"} and len(commands) == 3
    assert len((recipe / "local/prepare.py").read_text().splitlines()) <= 40
    assert "top1_acc" in (recipe / "exp/trial/results/multi_strategy/birds.json").read_text()
    assert (recipe / "exp/trial/RESULTS.md").is_file()
    gone = sorted((data / "recordings").iterdir())[3]
    gone.unlink()
    done = subprocess.run(
        ["./run.sh"], cwd=recipe, env={**environment, "BIRDS": str(data)}, capture_output=True, text=True
    )
    assert done.returncode == 2 and "23 of 24 recordings (missing: recordings/03.wav)" in done.stderr
    table = (data / "labels.csv").read_text()
    for old, new, message in (
        ("valid", "dev", "labels.csv:18: split is 'dev'; known are train, valid, test"),
        ("label,", "class,", "labels.csv:1: no column label; the header has file, class, split"),
    ):
        (data / "labels.csv").write_text(table.replace(old, new))
        done = subprocess.run(
            ["./run.sh"], cwd=recipe, env={**environment, "BIRDS": str(data)}, capture_output=True, text=True
        )
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_every_recipe_is_in_the_table():
    named = set(re.findall(r"\(\.\./egs/(\w+)/ssl1\)", TABLE))
    assert {path.parents[2].name for path in ROOT.glob("egs/*/ssl1/conf/archives.txt")} <= named
    for name in named:
        assert (ROOT / f"egs/{name}/ssl1/README.md").is_file(), name
