"""copy_data_dir.sh: copies a data directory, optionally with new ids."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Sequence

from datadir import content
from datadir.arguments import Parser
from datadir.tables import UsageError


def main(arguments: Sequence[str]) -> int:
    parser = Parser("copy_data_dir.sh", "Copies a data directory; ids can be given a prefix or a suffix.")
    for option in ("--utt-prefix", "--utt-suffix", "--spk-prefix", "--spk-suffix"):
        parser.add_argument(option, default="", metavar="TEXT")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args(arguments)
    content.check_target(args.source, args.target)
    for text in (args.utt_prefix, args.utt_suffix, args.spk_prefix, args.spk_suffix):
        if any(character.isspace() for character in text):
            raise UsageError(f"'{text}': a prefix or suffix cannot contain a space")
    utt_prefix, utt_suffix = os.fsencode(args.utt_prefix), os.fsencode(args.utt_suffix)
    spk_prefix, spk_suffix = os.fsencode(args.spk_prefix), os.fsencode(args.spk_suffix)
    copied = content.rename(
        content.read(args.source),
        utterance=lambda key: utt_prefix + key + utt_suffix,
        speaker=lambda key: spk_prefix + key + spk_suffix,
    )
    stale = content.write(args.target, copied)
    for line in content.not_copied(args.source, copied) + content.removed(args.target, stale):
        parser.say(line)
    count = len(copied.utterances())
    print(f"copy_data_dir.sh: {count} utterances from {args.source} to {args.target}")
    return 0
