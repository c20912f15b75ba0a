"""Kaldi-style data directories for the shell helpers; standard library only, ids are bytes."""

import sys
from pathlib import Path

# The grammar of the tables is the toolkit's own (ssltoolkit/data/tables.py); the helpers run without being installed.
sys.path.append(str(Path(__file__).resolve().parents[2]))
