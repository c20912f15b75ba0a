#!/usr/bin/env python3
"""Converts `utterance speaker` lines to `speaker utterance utterance ...` lines.

  utt2spk_to_spk2utt.py [UTT2SPK] > SPK2UTT        (standard input by default)

Speakers and their utterances are printed in C-locale order.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from datadir.arguments import Parser
from datadir.fix import spk2utt_of
from datadir.tables import UsageError, read_table, show, table_lines

from ssltoolkit.data.tables import check_one_word


def main() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = Parser("utt2spk_to_spk2utt.py", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = argparse.SUPPRESS
    parser.add_argument("utt2spk", type=Path, nargs="?", default=Path("-"), metavar="UTT2SPK")
    path = parser.parse_args().utt2spk
    try:
        utt2spk = read_table(path)
        for key, value in utt2spk.items():
            fault = check_one_word(value)
            if fault is not None:
                raise UsageError(f"{path}: {show(key)}: {fault}")
    except UsageError as error:
        parser.say(str(error))
        return 2
    sys.stdout.buffer.writelines(line + b"\n" for line in table_lines(spk2utt_of(utt2spk)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
