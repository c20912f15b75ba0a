"""Data directories of FSD50K: sound events of 200 classes, several per clip."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.recipes import CompletenessCheck, Published, Utterance
from ssltoolkit.errors import DataError

DATASET = Published(
    "FSD50K",
    "FSD50K",
    "FSD50K.dev_audio/, FSD50K.eval_audio/ and FSD50K.ground_truth/",
    "https://zenodo.org/records/4060432",
    ("FSD50K.ground_truth", "FSD50K.dev_audio"),
)
CLASSES = 200
CLIPS = {"dev": 40966, "eval": 10231}
COLUMNS: Dict[str, Sequence[str]] = {"dev": ("fname", "labels", "mids", "split"), "eval": ("fname", "labels", "mids")}


def read_vocabulary(path: Path, completeness: CompletenessCheck) -> Set[str]:
    """``vocabulary.csv``: index, label, AudioSet id, without a header."""
    rows: List[List[str]] = []
    if path.is_file():
        with open(path, encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.reader(lines) if row]
    for number, row in enumerate(rows, 1):
        if len(row) != 3:
            raise DataError(f"{path}:{number}: expected index, label and mid, got {','.join(row)!r}")
    completeness.count("classes in vocabulary.csv", len(rows), CLASSES)
    return {row[1] for row in rows}


def read_clips(
    truth: Path, audio: Path, part: str, vocabulary: Set[str], completeness: CompletenessCheck
) -> Dict[str, Dict[str, Utterance]]:
    """Clips of ``dev.csv`` or ``eval.csv`` by split (train and val; test)."""
    path, there = truth / f"{part}.csv", recipes.listing(audio)
    found: Dict[str, Dict[str, Utterance]] = {}
    rows: List[Dict[str, str]] = []
    if path.is_file():
        with open(path, encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            if tuple(reader.fieldnames or ()) != tuple(COLUMNS[part]):
                raise DataError(
                    f"{path}:1: the columns must be {', '.join(COLUMNS[part])}, got "
                    f"{', '.join(reader.fieldnames or ())}"
                )
            rows = list(reader)
    for number, row in enumerate(rows, 2):
        labels, split = row["labels"].split(","), row.get("split", "test")
        unknown = sorted(set(labels) - vocabulary)
        if unknown or split not in ("train", "val", "test"):
            raise DataError(
                f"{path}:{number}: {row['fname']} has a label or split that is not in FSD50K: "
                f"{', '.join(unknown) or split}"
            )
        if f"{row['fname']}.wav" in there:
            found.setdefault(split, {})[row["fname"]] = Utterance(audio / f"{row['fname']}.wav", labels)
    listed = {f"{row['fname']}.wav" for row in rows}
    completeness.count(f"clips in {part}.csv", len(rows), CLIPS[part])
    completeness.count(f"of them in {audio.name}", len(listed & there), len(rows), listed - there)
    return found


def main(argv: Optional[List[str]] = None) -> int:
    """Split development clips into train and valid as in ``dev.csv``; evaluation clips are test."""
    args = recipes.parser(__doc__ or "").parse_args(argv)
    completeness = CompletenessCheck(DATASET, recipes.locate(DATASET, args), args.partial)
    truth = recipes.place(args, "FSD50K.ground_truth")
    vocabulary = read_vocabulary(truth / "vocabulary.csv", completeness)
    dev, evaluation = (
        read_clips(truth, recipes.place(args, f"FSD50K.{part}_audio"), part, vocabulary, completeness) for part in CLIPS
    )
    completeness.close()
    if args.check:
        return command_line.EXIT_OK
    splits = {"train": dev.get("train", {}), "valid": dev.get("val", {}), "test": evaluation.get("test", {})}
    recipes.write_task(args.out_dir / "fsd50k", splits)
    recipes.write_set(args.out_dir / "pretrain", recipes.unlabelled(splits["train"]))
    recipes.write_set(args.out_dir / "pretrain_valid", recipes.unlabelled(splits["valid"]))
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
