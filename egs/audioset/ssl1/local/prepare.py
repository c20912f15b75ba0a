"""Pre-training data of AudioSet: matches its segment lists with the audio available on this machine."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.audio import EXTENSIONS
from ssltoolkit.data.recipes import CompletenessCheck, Published, Utterance
from ssltoolkit.data.scan import walk_files
from ssltoolkit.errors import DataError, UserError
from ssltoolkit.text import read_text

DATASET = Published(
    "AudioSet",
    "AUDIOSET",
    "the segment lists such as balanced_train_segments.csv, and below them the 10 s clips named by their YouTube id",
    "https://research.google.com/audioset/download.html (lists; the audio is not distributed, ask your institution "
    "for its copy)",
    ("balanced_train_segments.csv", "unbalanced_train_segments.csv", "eval_segments.csv"),
)
LISTS = {
    "balanced": ("balanced_train_segments.csv",),
    "unbalanced": ("unbalanced_train_segments.csv",),
    "all": ("balanced_train_segments.csv", "unbalanced_train_segments.csv"),
}
LENGTH = 11  # characters of a YouTube id
LEAST = 0.5  # smallest accepted share of the listed clips


class Listed(NamedTuple):
    """One line of a segment list; times in seconds."""

    start: float
    end: float


def read_segments(path: Path) -> Dict[str, Listed]:
    """YouTube id -> segment; their number is checked against the list's header."""
    found: Dict[str, Listed] = {}
    expected = None
    try:
        lines = open(path, encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); get the list from {DATASET.page}") from None
    with lines:
        for number, row in enumerate(csv.reader(lines, skipinitialspace=True), 1):
            if not row or row[0].startswith("#"):
                counted = re.search(r"num_segs=(\d+)", ",".join(row))
                expected = int(counted[1]) if counted else expected
                continue
            try:
                found[row[0]] = Listed(float(row[1]), float(row[2]))
            except (IndexError, ValueError):
                raise DataError(
                    f"{path}:{number}: expected YTID, start_seconds, end_seconds, positive_labels"
                ) from None
    if expected is not None and expected != len(found):
        raise DataError(f"{path}: has {len(found):,} segments, its header says {expected:,}; get the list again")
    return found


def find_clips(root: Path, wanted: Iterable[str]) -> Dict[str, Path]:
    """YouTube id -> file. File names are ``ID`` or ``YID`` (prefixed with Y), optionally followed by ``_`` or ``.`` and
    times.
    """
    listed, found = set(wanted), {}
    for path in walk_files(root):
        if path.suffix.lower() not in EXTENSIONS:
            continue
        for start in (0, 1):
            name, rest = path.stem[start : start + LENGTH], path.stem[start + LENGTH :]
            if name in listed and (start == 0 or path.stem[0] == "Y") and (not rest or rest[0] in "_."):
                found.setdefault(name, path.resolve())
    return found


def choose(args: argparse.Namespace, root: Path) -> Dict[str, Listed]:
    """The segments to pre-train on, from a published list or the user's list of ids."""
    if not args.list:
        return {name: one for file in LISTS[args.subset] for name, one in read_segments(root / file).items()}
    path = Path(args.list)
    if path.suffix == ".csv":
        return read_segments(path)
    try:
        names = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"--list {path}: cannot be read ({error.strerror})") from None
    wrong = next((f"{path}:{number}: {name!r}" for number, name in enumerate(names, 1) if len(name) != LENGTH), None)
    if wrong:
        raise DataError(
            f"{wrong} is not a YouTube id of {LENGTH} characters; give one per line, or a segment list (.csv)"
        )
    return dict.fromkeys(names, Listed(0.0, 10.0))


def check_share(
    what: str, listed: int, found: Dict[str, Path], missing: List[str], completeness: CompletenessCheck
) -> None:
    """Accept an incomplete copy, because videos disappear, unless it lacks half of the clips."""
    print(
        f"AudioSet: audio of {len(found):,} of the {listed:,} segments of {what} "
        f"({100 * len(found) / max(listed, 1):.1f} %)"
    )
    if len(found) < LEAST * listed or not found:
        completeness.count(f"clips of {what}", len(found), listed, missing)


def main(argv: Optional[List[str]] = None) -> int:
    """Write clips for pre-training, and clips of the evaluation list for validation."""
    options = recipes.parser(__doc__ or "")
    options.add_argument("--subset", choices=tuple(LISTS), default="balanced", help="published list(s) to pre-train on")
    options.add_argument("--list", default="", help="instead: a segment list (.csv), or a file of YouTube ids")
    options.add_argument(
        "--share", type=command_line.share, default=1.0, help="share of these clips to use, drawn with --seed"
    )
    args = options.parse_args(argv)
    root = recipes.locate(DATASET, args)
    pretrain, valid = choose(args, root), read_segments(root / "eval_segments.csv")
    clips = find_clips(root, [*pretrain, *valid])
    completeness = CompletenessCheck(DATASET, root, args.partial)
    found = {}
    for name, listed in ((args.list or args.subset, pretrain), ("eval", valid)):
        found[name] = {one: clips[one] for one in listed if one in clips}
        check_share(name, len(listed), found[name], [one for one in listed if one not in clips], completeness)
    completeness.close()
    if args.check:
        return command_line.EXIT_OK
    for there, folder in zip(found.values(), ("pretrain", "pretrain_valid")):
        kept = recipes.draw(there, max(2, round(args.share * len(there))), args.seed) if folder == "pretrain" else there
        recipes.write_set(args.out_dir / folder, {f"Y{one}": Utterance(there[one]) for one in kept})
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
