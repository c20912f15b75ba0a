"""Command-line parsing of the data-directory helpers: one line and status 2 for bad usage."""

from __future__ import annotations

import argparse
import sys


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with the name of the shell helper, which does not accept abbreviated options."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def say(self, message: str) -> None:
        """Prints a note on standard error under the program's name."""
        print(f"{self.prog}: {message}", file=sys.stderr)
