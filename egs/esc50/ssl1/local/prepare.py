"""Data directories of ESC-50 (or ESC-10): one five-fold set, and its audio without labels for pre-training."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Dict, List, Optional

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.recipes import CompletenessCheck, Published, Utterance
from ssltoolkit.errors import DataError

DATASET = Published(
    "ESC-50",
    "ESC50",
    "audio/ and meta/esc50.csv, or a folder for each class such as '101 - Dog'",
    "https://github.com/karolpiczak/ESC-50",
    ("meta/esc50.csv", "101 - Dog", "001 - Dog bark"),
)
FOLDS, CLIPS = 5, 40  # folds; clips of each class
CLASS_FOLDER = re.compile(r"\d{3} - (.+)")
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")


def from_table(root: Path, completeness: CompletenessCheck) -> Dict[str, Utterance]:
    """The layout since 2017: ``audio/{fold}-{source}-{take}-{target}.wav`` listed in ``meta/esc50.csv``."""
    path, utts = root / "meta/esc50.csv", {}
    names = recipes.listing(root / "audio")
    with open(path, encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        if list(reader.fieldnames or ()) != list(COLUMNS):
            raise DataError(
                f"{path}:1: the columns must be {', '.join(COLUMNS)}, got {', '.join(reader.fieldnames or ())}"
            )
        rows = list(reader)
    for number, row in enumerate(rows, 2):
        if not row["filename"].startswith(f"{row['fold']}-") or not row["category"]:
            raise DataError(
                f"{path}:{number}: fold {row['fold']} does not match the file name {row['filename']!r}; get the table "
                "again"
            )
        if row["filename"] in names:
            utts[Path(row["filename"]).stem] = Utterance(
                root / "audio" / row["filename"], row["category"], fold=int(row["fold"])
            )
    completeness.count("clips listed in meta/esc50.csv", len(rows), 50 * CLIPS)
    completeness.count("of them in audio/", len(utts), len(rows), {row["filename"] for row in rows} - names)
    return utts


def from_folders(root: Path, completeness: CompletenessCheck) -> Dict[str, Utterance]:
    """The older layout: ``{number} - {class}/{fold}-{source}-{take}.ogg``."""
    folders = {
        path: match[1]
        for path in sorted(root.iterdir())
        for match in [CLASS_FOLDER.fullmatch(path.name)]
        if match and path.is_dir()
    }
    utts: Dict[str, Utterance] = {}
    small = []
    for folder, label in folders.items():
        clips = sorted(recipes.listing(folder, r"[1-5]-.+\.(ogg|wav)"))
        if len(clips) != CLIPS:
            small.append(f"{folder.name}/ has {len(clips)}")
        for name in clips:
            key = f"{Path(name).stem}-{folder.name[:3]}"
            utts[key] = Utterance(folder / name, re.sub(r"\W+", "_", label.lower()), fold=int(name[0]))
    # ESC-10 numbers its classes from 001, ESC-50 from 101
    classes = 10 if all(folder.name.startswith("0") for folder in folders) else 50
    completeness.count("class folders", len(folders), classes)
    completeness.count("clips in them", len(utts), classes * CLIPS, small)
    return utts


def main(argv: Optional[List[str]] = None) -> int:
    """Read the dataset in either layout and write its data directories."""
    args = recipes.parser(__doc__ or "").parse_args(argv)
    root = recipes.locate(DATASET, args)
    completeness = CompletenessCheck(DATASET, root, args.partial)
    utts = (from_table if (root / "meta/esc50.csv").is_file() else from_folders)(root, completeness)
    folds = Counter(one.fold for one in utts.values())
    completeness.count("folds", len(folds), FOLDS)
    completeness.close()
    if args.check:
        return command_line.EXIT_OK
    recipes.write_set(args.out_dir / "esc50", utts)
    recipes.write_pretraining(args.out_dir, utts, args.seed)
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
