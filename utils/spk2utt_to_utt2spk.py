#!/usr/bin/env python3
"""Converts `speaker utterance utterance ...` lines to `utterance speaker` lines.

  spk2utt_to_utt2spk.py [SPK2UTT] > UTT2SPK        (standard input by default)

Utterances are printed in C-locale order.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from datadir.arguments import Parser
from datadir.fix import utt2spk_of
from datadir.tables import UsageError, read_table, show, table_lines


def main() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = Parser("spk2utt_to_utt2spk.py", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = argparse.SUPPRESS
    parser.add_argument("spk2utt", type=Path, nargs="?", default=Path("-"), metavar="SPK2UTT")
    path = parser.parse_args().spk2utt
    try:
        spk2utt = read_table(path)
        for speaker, value in spk2utt.items():
            if not value:
                raise UsageError(f"{path}: {show(speaker)}: no utterances after the speaker")
        utt2spk = utt2spk_of(path, spk2utt)
    except UsageError as error:
        parser.say(str(error))
        return 2
    sys.stdout.buffer.writelines(line + b"\n" for line in table_lines(utt2spk))
    return 0


if __name__ == "__main__":
    sys.exit(main())
