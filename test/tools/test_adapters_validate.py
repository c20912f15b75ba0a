"""The real packages of other benchmarks accept our models, where they are installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def validate(suite):
    command = [sys.executable, str(ROOT / "tools/adapters_validate.py"), "baseline:logmel", "--suites", suite]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("suite", ["xares", "mteb", "s3prl"])
def test_the_suite_takes_our_model(suite):
    if importlib.util.find_spec(suite) is None:
        done = validate(suite)
        assert (
            done.returncode == 2
            and "install the package of this name" in done.stderr
            and "Traceback" not in done.stderr
        )
        pytest.skip(f"needs {suite}; that it is missing is said")
    done = validate(suite)
    assert done.returncode == 0 and f"{suite}: baseline:logmel: " in done.stdout, done.stdout + done.stderr
