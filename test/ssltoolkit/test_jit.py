"""jit.py: compiled kernels are cached where a folder is writable, and work without a cache."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ssltoolkit import jit

ROOT = Path(__file__).resolve().parents[2]

# numba can write neither beside the package, nor in the home folder, nor in NUMBA_CACHE_DIR.
NOWHERE = """
from numba.core import caching
for name in dir(caching):
    if name.strip("_").startswith(("InTree", "UserWide")):
        getattr(caching, name).from_function = classmethod(lambda *arguments: None)
import numpy as np
from ssltoolkit.frontends.warp import warped_mel
edges = np.array([[[0], [2], [4]]], np.float32)
print(warped_mel(np.ones((1, 1, 5), np.float32), np.arange(5, dtype=np.float32), edges).item())
"""


def test_works_where_no_cache_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "file" / "below")}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", NOWHERE], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 2.0 and "compiled again in every process" in done.stderr


def test_a_private_cache_folder_where_the_package_is_read_only(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    jit._writable_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o077 == 0
    jit._writable_cache()  # an existing setting is kept
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder)


def test_a_writable_package_needs_no_other_folder(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    jit._writable_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
