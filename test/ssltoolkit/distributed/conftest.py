"""Processes of one run, started as by a launcher."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def port():
    """A free port."""
    return free_port()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start_processes(tmp_path):
    """start_processes(2, 'script.py', ...): start that many ranks and return their Popen objects. Those still running
    are killed at the end of the test.
    """
    started = []

    def start(size, *arguments, env=None):
        port = str(free_port())
        processes = []
        for rank in range(size):
            place = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **place, **(env or {})}
            processes.append(
                subprocess.Popen(
                    [sys.executable, *map(str, arguments)], cwd=tmp_path, env=environment, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
        started.extend(processes)
        return processes

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
