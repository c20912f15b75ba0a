#!/usr/bin/env python3
"""Runs one data-directory helper by name; called by the *.sh files next to it."""

from __future__ import annotations

import importlib
import os
import signal
import sys

HELPERS = {
    "validate": "validate_data_dir.sh",
    "fix": "fix_data_dir.sh",
    "copy": "copy_data_dir.sh",
    "subset": "subset_data_dir.sh",
    "combine": "combine_data.sh",
    "utt2dur": "get_utt2dur.sh",
}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in HELPERS:
        print(f"data_dir.py: name one of {', '.join(HELPERS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    name = sys.argv[1]
    sys.stdout.reconfigure(errors="backslashreplace")
    helper = importlib.import_module(f"datadir.{name}")
    from ssltoolkit.errors import UserError

    try:
        return helper.main(sys.argv[2:])
    except UserError as error:
        print(f"{HELPERS[name]}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{HELPERS[name]}: {error.filename}: {os.strerror(error.errno)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
