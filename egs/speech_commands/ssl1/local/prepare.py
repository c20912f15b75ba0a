"""Data directories of Speech Commands v0.02: the 12 classes of HEAR, or all 35 words; clips keep their lengths."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict, List, Optional, Set

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.recipes import CompletenessCheck, Published, Utterance
from ssltoolkit.errors import UserError
from ssltoolkit.text import read_text

DATASET = Published(
    "Speech Commands v0.02",
    "SPEECH_COMMANDS",
    "a folder for each word, validation_list.txt, testing_list.txt, _background_noise_, and the separate test archive",
    "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    ("validation_list.txt",),
)
TEST_PAGE = "http://download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz"
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SILENCE, UNKNOWN, NOISE = "_silence_", "_unknown_", "_background_noise_"
#: published numbers of files
WORDS, CLIPS, VALIDATION, TESTING, NOISES, TEST_ARCHIVE = 35, 105829, 9981, 11005, 6, 4890


def read_list(path: Path, clips: Set[str], completeness: CompletenessCheck, expected: int) -> Set[str]:
    """Existing files, as ``word/file.wav``, of an official split list."""
    listed = set(read_text(path).split()) if path.is_file() else set()
    completeness.count(f"files in {path.name}", len(listed), expected)
    completeness.count(f"of {path.name} there", len(listed & clips), len(listed), listed - clips)
    return listed & clips


def utterance(root: Path, name: str, classes: int) -> Utterance:
    """One spoken word; the part of a file name before ``_nohash_`` is its speaker."""
    word, file = name.split("/")
    label = word if classes == 35 or word in COMMANDS else UNKNOWN
    return Utterance(root / name, label, speaker=file.split("_nohash_")[0])


def silence(root: Path, valid: bool) -> Dict[str, Utterance]:
    """Windows of 1 s every 0.5 s of the background noise; ``running_tap`` is for validation, as in HEAR."""
    import soundfile

    found = {}
    for name in sorted(recipes.listing(root / NOISE)):
        if (Path(name).stem == "running_tap") != valid:
            continue
        info = soundfile.info(root / NOISE / name)
        for start in range(0, info.frames - info.samplerate, info.samplerate // 2):
            span, noise = (start / info.samplerate, start / info.samplerate + 1.0), Path(name).stem
            found[f"{SILENCE}-{noise}-{start:07d}"] = Utterance(root / NOISE / name, SILENCE, speaker=noise, span=span)
    return found


def test_archive(folder: Path, completeness: CompletenessCheck) -> Dict[str, Utterance]:
    """The separate test archive, with one folder per class."""
    if not (folder / UNKNOWN).is_dir():
        raise UserError(
            f"{folder}: no test archive in it (a folder with {UNKNOWN}/); unpack {TEST_PAGE} into a separate folder "
            "next to the training archive, set SPEECH_COMMANDS to the parent folder of both, or use --test list"
        )
    found = {}
    for label in (*COMMANDS, UNKNOWN, SILENCE):
        for name in recipes.listing(folder / label):
            found[f"test-{label}-{Path(name).stem}"] = Utterance(
                folder / label / name, label, speaker=name.split("_nohash_")[0]
            )
    completeness.count("files in the test archive", len(found), TEST_ARCHIVE)
    return found


def main(argv: Optional[List[str]] = None) -> int:
    """Files in neither list are for training; pre-training uses them without labels."""
    options = recipes.parser(__doc__ or "")
    options.add_argument("--classes", type=int, choices=(12, 35), default=12, help="12 as in HEAR, or all 35 words")
    options.add_argument(
        "--test", choices=("archive", "list"), help="separate archive (default with 12 classes) or testing_list.txt"
    )
    options.add_argument(
        "--pretrain", type=command_line.str2bool, default=True, help="also write the pre-training sets"
    )
    args = options.parse_args(argv)
    test = args.test or ("archive" if args.classes == 12 else "list")
    if args.classes == 35 and test == "archive":
        raise UserError("--classes 35: the test archive has only the 12 classes; use --test list")
    root = recipes.locate(DATASET, args)
    completeness = CompletenessCheck(DATASET, root, args.partial)
    words = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    words = [word for word in words if recipes.listing(root / word)]
    clips = {f"{word}/{name}" for word in words for name in recipes.listing(root / word)}
    completeness.count("words", len(words), WORDS)
    completeness.count("spoken words", len(clips), CLIPS)
    completeness.count("background noises", len(recipes.listing(root / NOISE)), NOISES)
    validation = read_list(root / "validation_list.txt", clips, completeness, VALIDATION)
    testing = read_list(root / "testing_list.txt", clips, completeness, TESTING)
    chosen = {"train": clips - validation - testing, "valid": validation, "test": testing}
    splits = {
        split: {f"{name.split('/')[0]}-{Path(name).stem}": utterance(root, name, args.classes) for name in names}
        for split, names in chosen.items()
    }
    spoken = {split: dict(utts) for split, utts in splits.items()}
    if args.classes == 12:
        splits["train"].update(silence(root, valid=False))
        splits["valid"].update(silence(root, valid=True))
    if test == "archive":
        splits["test"] = test_archive(recipes.place(args, UNKNOWN).parent, completeness)
    completeness.close()
    if args.check:
        return command_line.EXIT_OK
    recipes.write_task(args.out_dir / "speech_commands", splits)
    if args.pretrain:
        recipes.write_set(args.out_dir / "pretrain", recipes.unlabelled(spoken["train"]))
        recipes.write_set(args.out_dir / "pretrain_valid", recipes.unlabelled(spoken["valid"]))
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
