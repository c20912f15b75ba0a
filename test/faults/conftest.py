"""Fixtures that run pre-training as a process and send it a signal in a chosen forward pass."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: a plugin that once sends HURT_SIGNAL to its own process: in forward pass HURT_AT of the process with rank HURT_RANK
HURT = """
import os
from pathlib import Path
from ssltoolkit.model import SSLModel

forward, calls = SSLModel.forward, []

def hurt(self, batch):
    calls.append(1)
    mark = Path(os.environ.get("HURT_MARK", "/"))
    if str(len(calls)) == os.environ.get("HURT_AT") and os.environ.get("RANK", "0") == os.environ.get("HURT_RANK", "0") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), int(os.environ["HURT_SIGNAL"]))
    return forward(self, batch)

SSLModel.forward = hurt
"""


@pytest.fixture
def deadline():
    """End a test that hangs."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def run_dir(tmp_path, format_data, make_waves, tiny_yaml):
    """A folder with data and ``tiny.yaml``, which loads the plugin that sends the signal."""
    format_data("train", make_waves(14, seconds=1.1))
    format_data("valid", make_waves(5, seed=1))
    (tmp_path / "hurt.py").write_text(HURT)
    tiny_yaml.write_text("plugins: [hurt.py]\n" + tiny_yaml.read_text())
    return tmp_path


@pytest.fixture
def start(run_dir):
    """start('exp', 'training.max_steps=9', ...): start pre-training as a process; ``before`` precedes its arguments,
    ``options`` follow them.
    """
    started = []

    def call(exp, *overrides, options=(), before=("-m", "ssltoolkit.bin.pretrain"), env=None):
        settings = [part for override in overrides for part in ("--set", override)]
        command = [
            sys.executable,
            *before,
            "--config",
            "tiny.yaml",
            "--train_dir",
            "train-formatted",
            "--valid_dir",
            "valid-formatted",
            "--exp_dir",
            exp,
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        process = subprocess.Popen(
            [*command, *settings, *options], cwd=run_dir, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
    # Processes of a launcher have their own sessions; left running, they would keep the pipes open.
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if entry.resolve() == run_dir.resolve() and int(entry.parent.name) != os.getpid():
                os.kill(int(entry.parent.name), 9)
    for process in started:
        process.communicate(timeout=60)
