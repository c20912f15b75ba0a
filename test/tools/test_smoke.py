"""tools/smoke.py: what CI runs under every Python."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_this_installation_imports_and_embeds():
    done = subprocess.run([sys.executable, ROOT / "tools/smoke.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "imports and embeds" in done.stdout, done.stderr
