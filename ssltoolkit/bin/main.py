"""The ``ssltoolkit`` command: ``ssltoolkit <program> [options]``."""

from __future__ import annotations

import atexit
import difflib
import gc
import importlib
import sys
from typing import List, Optional

from ssltoolkit import __version__, command_line

PROGRAMS = {
    "format": "convert audio of any format and rate to 16 kHz mono wave archives",
    "features": "compute log-mel features and global statistics from wave archives",
    "pretrain": "pre-train an encoder with several sampling strategies",
    "embed": "compute frozen scene or frame embeddings of a data directory or of audio files",
    "export": "export a frozen model as a small checkpoint, a model folder or ONNX",
    "evaluate": "probe frozen embeddings: clip, sound event detection or pitch",
    "explore": "make an HTML page that shows and plays a folder of sounds",
    "search": "find the sounds of an explored folder that are most similar to a recording",
    "report": "write results table, figures and report.html",
    "components": "list every registered component",
    "describe": "print parameters, types and defaults of one component",
    "check-config": "validate configuration files without training",
    "check-labels": "check the labels of evaluation tasks without training",
    "doctor": "check this machine, the installation and data directories",
}


def usage() -> str:
    """The text of ``ssltoolkit --help``."""
    width = max(map(len, PROGRAMS))
    lines = [f"  {name:<{width}}  {text}" for name, text in PROGRAMS.items()]
    return "\n".join(
        [
            f"ssltoolkit {__version__}",
            "usage: ssltoolkit <program> [options]   (--help after a program: its options)",
            "",
        ]
        + lines
    )


def main(argv: Optional[List[str]] = None) -> int:
    """Dispatch to one program; imports only its module, so that ``--help`` is fast."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return command_line.EXIT_OK if argv else command_line.EXIT_USAGE
    if argv[0] == "--version":
        print(__version__)
        return command_line.EXIT_OK
    name = argv[0]
    if name not in PROGRAMS:
        near = difflib.get_close_matches(name, PROGRAMS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        print(f"ssltoolkit: error: no program {name!r}{hint} (ssltoolkit --help lists them)", file=sys.stderr)
        return command_line.EXIT_USAGE
    module = importlib.import_module("ssltoolkit.bin." + name.replace("-", "_"))
    return command_line.run(module.main, argv[1:])


def main_entry() -> None:
    """Console-script entry point."""
    # Skip the final garbage collection over torch's objects, which takes a quarter to half a second.
    atexit.register(gc.freeze)
    sys.exit(main())


if __name__ == "__main__":
    main_entry()
