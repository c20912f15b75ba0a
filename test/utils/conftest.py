"""Fixtures that run the shell helpers as users do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def utils() -> Path:
    return ROOT / "utils"


@pytest.fixture
def run(tmp_path):
    """Run a program in tmp_path; `run.utils(name, ...)` runs one of utils/."""
    environment = {**os.environ, "LC_ALL": "C"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def call(*command, env=None, stdin=None, text=True):
        return subprocess.run(
            [str(word) for word in command], cwd=tmp_path, env={**environment, **(env or {})},
            input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text, timeout=60,
        )  # fmt: skip

    call.environment = environment
    call.utils = lambda name, *rest, **options: call(ROOT / "utils" / name, *rest, **options)
    return call


@pytest.fixture
def data_dir(tmp_path):
    """Writes a data directory: data_dir("name", **{"wav.scp": "a /a.wav\\n"})."""

    def write(name, files):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, content in files.items():
            raw = content if isinstance(content, bytes) else content.encode()
            (folder / file_name).write_bytes(raw)
        return folder

    return write
