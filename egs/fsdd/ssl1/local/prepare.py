"""Data directories of the Free Spoken Digit Dataset, split by speaker."""

from __future__ import annotations

import re
import sys
from typing import Dict, List, Optional

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.recipes import Published, Utterance
from ssltoolkit.errors import UserError

DATASET = Published(
    "the Free Spoken Digit Dataset",
    "FSDD",
    "recordings/{digit}_{speaker}_{number}.wav",
    "https://github.com/Jakobovski/free-spoken-digit-dataset",
    ("recordings",),
)
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = 50  # of each digit by each speaker


def main(argv: Optional[List[str]] = None) -> int:
    """Write splits without common speakers; pre-training uses only the training speakers."""
    options = recipes.parser(__doc__ or "")
    options.add_argument("--valid_speakers", default="lucas", help="comma-separated")
    options.add_argument("--test_speakers", default="george,yweweler", help="comma-separated")
    args = options.parse_args(argv)
    root = recipes.locate(DATASET, args)
    held_out = {"valid": args.valid_speakers.split(","), "test": args.test_speakers.split(",")}
    splits: Dict[str, Dict[str, Utterance]] = {"train": {}, "valid": {}, "test": {}}
    names = recipes.listing(root / "recordings")
    speakers = {match[2] for match in map(NAME.fullmatch, names) if match}
    expected = {f"{digit}_{speaker}_{take}.wav" for digit in range(10) for speaker in SPEAKERS for take in range(TAKES)}
    completeness = recipes.CompletenessCheck(DATASET, root, args.partial)
    completeness.count("recordings", len(names), len(expected), expected - names)
    completeness.close()
    if args.check:
        return command_line.EXIT_OK
    for split, wanted in held_out.items():
        unknown = sorted(set(wanted) - speakers)
        if unknown:
            raise UserError(
                f"--{split}_speakers: {', '.join(unknown)} not among the speakers {', '.join(sorted(speakers))}"
            )
    if set(held_out["valid"]) & set(held_out["test"]):
        raise UserError("--valid_speakers and --test_speakers share a speaker")
    for name in names:
        match = NAME.fullmatch(name)
        if match is None:
            raise UserError(f"{root / 'recordings' / name}: not named {{digit}}_{{speaker}}_{{number}}.wav; remove it")
        split = next((split for split, wanted in held_out.items() if match[2] in wanted), "train")
        utt = f"{match[2]}-{match[1]}-{int(match[3]):02d}"
        splits[split][utt] = Utterance(root / "recordings" / name, match[1], speaker=match[2])
    recipes.write_task(args.out_dir / "fsdd", splits)
    recipes.write_pretraining(args.out_dir, splits["train"], args.seed)
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
