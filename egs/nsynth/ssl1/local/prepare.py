"""Data directories of NSynth: the pitch of single notes, MIDI 21 to 108."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.recipes import CompletenessCheck, Published, Utterance
from ssltoolkit.errors import DataError
from ssltoolkit.text import read_text

DATASET = Published(
    "NSynth",
    "NSYNTH",
    "nsynth-train, nsynth-valid and nsynth-test, each with examples.json and audio/",
    "https://magenta.tensorflow.org/datasets/nsynth (the json/wav archives)",
    ("nsynth-train/examples.json", "nsynth-test/examples.json"),
)
NOTES = {"train": 289205, "valid": 12678, "test": 4096}
LOWEST, HIGHEST = 21, 108  # MIDI, the range of the piano, as in HEAR
#: notes of 4 s per subset: 5 h and 50 h of training and validation together
SUBSETS: Dict[str, Dict[str, int]] = {
    "5h": {"train": 4000, "valid": 500, "test": 500},
    "50h": {"train": 40000, "valid": 5000, "test": 5000},
    "full": NOTES,
}


def read_notes(path: Path) -> Dict[str, Dict[str, Any]]:
    """``examples.json``: note name -> its metadata."""
    try:
        notes = json.loads(read_text(path))
    except OSError:
        return {}
    except ValueError as error:
        raise DataError(f"{path}:{getattr(error, 'lineno', 1)}: not JSON; unpack the archive again") from None
    for name, note in notes.items():
        if not isinstance(note, dict) or not isinstance(note.get("pitch"), int) or "instrument_str" not in note:
            raise DataError(
                f"{path}: note {name!r} has no pitch and instrument_str; get the json/wav archives, not the TFRecords"
            )
    return notes


def split_notes(folder: Path, split: str, completeness: CompletenessCheck) -> Dict[str, Utterance]:
    """Every note of one split that exists and is in the pitch range."""
    notes = read_notes(folder / "examples.json")
    there: Set[str] = {name[:-4] for name in recipes.listing(folder / "audio")}
    completeness.count(f"notes in nsynth-{split}/examples.json", len(notes), NOTES[split])
    completeness.count(f"of them in nsynth-{split}/audio", len(there & notes.keys()), len(notes), notes.keys() - there)
    return {
        name: Utterance(folder / "audio" / f"{name}.wav", pitch=note["pitch"], speaker=note["instrument_str"])
        for name, note in notes.items()
        if name in there and LOWEST <= note["pitch"] <= HIGHEST
    }


def main(argv: Optional[List[str]] = None) -> int:
    """Write the published splits, whose training instruments are not in validation or test."""
    options = recipes.parser(__doc__ or "")
    options.add_argument(
        "--subset", choices=tuple(SUBSETS), default="5h", help="number of notes of each split, as in HEAR's modes"
    )
    options.add_argument(
        "--pretrain", choices=("subset", "full", "none"), default="subset", help="training notes to pre-train on"
    )
    args = options.parse_args(argv)
    root = recipes.locate(DATASET, args)
    completeness = CompletenessCheck(DATASET, root, args.partial)
    notes = {split: split_notes(recipes.place(args, f"nsynth-{split}"), split, completeness) for split in NOTES}
    completeness.close()
    if args.check:
        return command_line.EXIT_OK
    chosen = {split: recipes.draw(found, SUBSETS[args.subset][split], args.seed) for split, found in notes.items()}
    splits = {split: {name: notes[split][name] for name in names} for split, names in chosen.items()}
    recipes.write_task(args.out_dir / "nsynth", splits)
    if args.pretrain != "none":
        source = notes if args.pretrain == "full" else splits
        recipes.write_set(args.out_dir / "pretrain", recipes.unlabelled(source["train"]))
        recipes.write_set(args.out_dir / "pretrain_valid", recipes.unlabelled(splits["valid"]))
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
