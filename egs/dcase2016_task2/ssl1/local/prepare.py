"""Data directories of DCASE 2016 Task 2: office sound events in synthetic scenes of 2 min."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.datadir import Event
from ssltoolkit.data.recipes import CompletenessCheck, Published, Utterance
from ssltoolkit.errors import DataError
from ssltoolkit.text import read_text

DATASET = Published(
    "DCASE 2016 Task 2",
    "DCASE2016_TASK2",
    "dcase2016_task2_train_dev/ with isolated events and dev scenes, and dcase2016_task2_test_public/ with test scenes",
    "https://archive.org/details/dcase2016_task2_train_dev and https://archive.org/details/dcase2016_task2_test_public",
    ("dcase2016_task2_dev", "dcase2016_task2_test_public", "dcase2016_task2_train"),
)
CLASSES = (
    "clearthroat",
    "cough",
    "doorslam",
    "drawer",
    "keyboard",
    "keysDrop",
    "knock",
    "laughter",
    "pageturn",
    "phone",
    "speech",
)
ISOLATED, DEV, TEST = 220, 18, 54
SCENE = re.compile(r"\w+_ebr_(-?\d+)_nec_(\d+)_poly_(\d)")
PIECE = 10.0  # s; scenes are cut into pieces for pre-training, so that a batch has many different ones


def isolated(folder: Path) -> Dict[str, Utterance]:
    """Recordings of one event each: ``{class}{number}.wav``; the event covers the whole file."""
    import soundfile

    found = {}
    for name in recipes.listing(folder):
        label = re.sub(r"_?\d+$", "", Path(name).stem)
        if label not in CLASSES:
            raise DataError(f"{folder / name}: {label!r} is not one of the classes {', '.join(CLASSES)}")
        found[Path(name).stem] = Utterance(
            folder / name, events=[Event(0.0, soundfile.info(folder / name).duration, label)]
        )
    return found


def scenes(folder: Path, completeness: CompletenessCheck, expected: int) -> Dict[str, Utterance]:
    """``sound/{scene}.wav`` with ``annotation/{scene}.txt``: onset, offset (s) and class, tab-separated."""
    sounds = {Path(name).stem for name in recipes.listing(folder / "sound")}
    notes = {Path(name).stem for name in recipes.listing(folder / "annotation", r".*\.txt")}
    missing = {f"{one}.wav" for one in notes - sounds} | {f"{one}.txt" for one in sounds - notes}
    completeness.count(f"scenes in {folder.name}", len(sounds & notes), expected, missing)
    return {
        one: Utterance(folder / "sound" / f"{one}.wav", events=read_events(folder / "annotation" / f"{one}.txt"))
        for one in sounds & notes
    }


def read_events(path: Path) -> List[Event]:
    """Events of one scene."""
    events = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            event = Event(float(fields[0]), float(fields[1]), fields[2])
        except (ValueError, IndexError):
            event = None
        if (
            event is None
            or len(fields) != 3
            or event.label not in CLASSES
            or not 0 <= event.onset < event.offset < np.inf
        ):
            raise DataError(
                f"{path}:{number}: expected onset < offset in s and one of {', '.join(CLASSES)}, got {line!r}"
            )
        events.append(event)
    return events


def remixed(found: Dict[str, Utterance], seed: int) -> Dict[str, Dict[str, Utterance]]:
    """Dev and test scenes combined, split 60/20/20 % within each event-to-background ratio and polyphony."""
    groups: Dict[str, List[str]] = {}
    for name in sorted(found):
        match = SCENE.fullmatch(name)
        if match is None:
            raise DataError(f"{found[name].path}: the name of a scene must contain its ebr, nec and poly")
        groups.setdefault(f"{match[1]} {match[3]}", []).append(name)
    rng, order = np.random.default_rng([seed, 32]), []
    for group in sorted(groups):
        order.append(rng.permutation(groups[group]).tolist())
    # Round robin over the conditions, so that each split has all of them.
    mixed = [group[i] for i in range(max(map(len, order))) for group in order if i < len(group)]
    first, second = round(0.6 * len(mixed)), round(0.8 * len(mixed))
    parts = {"train": mixed[:first], "valid": mixed[first:second], "test": mixed[second:]}
    return {split: {name: found[name] for name in names} for split, names in parts.items()}


def pieces(found: Dict[str, Utterance]) -> Dict[str, Utterance]:
    """Scenes cut into pieces of 10 s."""
    import soundfile

    cut = {}
    for name, one in found.items():
        seconds = soundfile.info(one.path).duration
        for start in np.arange(0.0, max(seconds - 0.5 * PIECE, 0.1), PIECE):
            cut[f"{name}-{int(start):04d}"] = Utterance(
                one.path, span=(float(start), float(min(start + PIECE, seconds)))
            )
    return cut


def main(argv: Optional[List[str]] = None) -> int:
    """Write the task, and the probe's training audio without labels for pre-training."""
    options = recipes.parser(__doc__ or "")
    split = "hear: dev and test scenes remixed; published: isolated events, dev, test"
    options.add_argument("--split", choices=("hear", "published"), default="hear", help=split)
    options.add_argument(
        "--pretrain", type=command_line.str2bool, default=True, help="also write the pre-training sets"
    )
    args = options.parse_args(argv)
    root = recipes.locate(DATASET, args)
    completeness = CompletenessCheck(DATASET, root, args.partial)
    events = isolated(recipes.place(args, "dcase2016_task2_train"))
    completeness.count("isolated events", len(events), ISOLATED)
    dev = scenes(recipes.place(args, "dcase2016_task2_dev"), completeness, DEV)
    test = scenes(recipes.place(args, "dcase2016_task2_test_public"), completeness, TEST)
    completeness.close()
    if args.check:
        return command_line.EXIT_OK
    splits = (
        remixed({**dev, **test}, args.seed) if args.split == "hear" else {"train": events, "valid": dev, "test": test}
    )
    recipes.write_task(args.out_dir / "dcase2016_task2", splits)
    if args.pretrain:
        heard = {**recipes.unlabelled(events), **(pieces(splits["train"]) if args.split == "hear" else {})}
        recipes.write_pretraining(args.out_dir, heard, args.seed)
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
