"""HEAR's own validator accepts our models."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def validate(*models):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tools" / "hear_validate.py"), *models]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(
    importlib.util.find_spec("hearvalidator") is None, reason="needs hearvalidator: pip install --no-deps hearvalidator"
)
def test_the_validator_accepts_our_models():
    done = validate("baseline:logmel", "random:cnn_small", "random:efficientnet_b0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("accepted by hearvalidator") == 3


@pytest.mark.skipif(importlib.util.find_spec("hearvalidator") is not None, reason="hearvalidator is installed")
def test_what_is_missing_is_said():
    done = validate("baseline:logmel")
    assert (
        done.returncode == 2 and "pip install --no-deps hearvalidator" in done.stderr and "Traceback" not in done.stderr
    )
