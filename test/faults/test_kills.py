"""A run killed with SIGKILL at any moment and started again ends bit for bit like an uninterrupted run.

Short: 5 kills. Long (``SSLTOOLKIT_LONG=1``): 36 kills, a third of them at a random time.
"""

import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from running import LONG, assert_no_gaps, log_lines, same_state

from ssltoolkit.config import load_config
from ssltoolkit.stages.pretrain import pretrain
from ssltoolkit.training.checkpoint import load_checkpoint

PLACES = ("step", "after", "update", "validation", "validated", "write", "rename", "sync", "line")
SETTINGS = (
    "training.max_steps=30",
    "training.log_interval=1",
    "training.valid_interval=5",
    "training.checkpoint_interval=3",
)


@pytest.fixture
def prepared(run_dir):
    """Train the uninterrupted run in this process; returns its folder."""
    shutil.copy(Path(__file__).with_name("dying.py"), run_dir)
    undisturbed = load_config(run_dir / "tiny.yaml", SETTINGS)
    (run_dir / "whole").mkdir()
    pretrain(undisturbed, run_dir / "whole", run_dir / "train-formatted", run_dir / "valid-formatted")
    text = (run_dir / "tiny.yaml").read_text()
    (run_dir / "tiny.yaml").write_text(text.replace("plugins: [hurt.py]", "plugins: [dying.py]"))
    return run_dir / "whole"


def assert_same_end(whole, folder):
    for name in ("last.pt", "best.pt"):
        one, other = load_checkpoint(whole / name), load_checkpoint(folder / name)
        for key in ("model", "optimizer", "scheduler", "random", "step", "best", "bad_steps"):
            assert same_state(one[key], other[key]), f"{name}: {key}"
    assert log_lines(whole) == log_lines(folder)
    assert_no_gaps(folder, 30, 5)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}, (
        "something was left behind"
    )


def kill_by_the_clock(start, folder, delay):
    """Send SIGKILL ``delay`` seconds after the first step of a run; returns whether it was still running."""
    process = start(folder.name, *SETTINGS)
    log = folder / "train_log.jsonl"
    before = log.read_bytes() if log.is_file() else b""
    while process.poll() is None and (not log.is_file() or log.read_bytes() == before):
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


def kill_at(start, folder, place, count):
    """Kill the run at a place; returns whether it got there before its end."""
    process = start(folder.name, *SETTINGS, env={"KILL": f"{place}:{count}"})
    code = process.wait(120)
    assert code in (0, -signal.SIGKILL), process.communicate()[0]
    return code != 0


def test_killed_at_any_moment(start, run_dir, prepared):
    wanted, kills, seed = (36 if LONG else 5), 0, 0
    while kills < wanted:
        rng = np.random.default_rng([7, seed])
        folder = run_dir / f"cut{seed}"
        alive = True
        order = list(rng.permutation(PLACES))
        while kills < wanted and alive:
            if LONG and rng.random() < 0.35:
                alive = kill_by_the_clock(start, folder, rng.uniform(0.0, 1.2))
            else:
                place = order.pop() if order else rng.choice(PLACES)
                alive = kill_at(start, folder, place, int(rng.integers(2, 6)))
            kills += alive
            if kills and kills % 9 == 0:
                break  # let this run finish, and start another
        end = start(folder.name, *SETTINGS)
        output, _ = end.communicate(timeout=120)
        assert end.returncode == 0 and "Traceback" not in output, output
        assert_same_end(prepared, folder)
        seed += 1
    print(f"{kills} kills survived in {seed} runs")
