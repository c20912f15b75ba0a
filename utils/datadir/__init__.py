"""Kaldi-style data directories for the shell helpers; standard library only, ids are bytes."""

import sys
from pathlib import Path

# The helpers use the toolkit's table grammar (ssltoolkit/data/tables.py) without an installation.
sys.path.append(str(Path(__file__).resolve().parents[2]))
