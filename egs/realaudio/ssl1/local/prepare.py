"""Data directories of the real-audio comparison: an unlabelled pool, and downstream tasks in a development and a test
form.

The pool: sonic_pi, librosa_examples and dirt_samples without the folders in holdout.py, and optionally speech from
espeak-ng, music from FluidSynth, words by several voices and synthesiser patches. The tasks: digits (clip,
held-out speakers), folders (clip, held-out sample folders), soundscapes (SED) and notes (pitch, held-out instruments);
with open_sounds words (clip, held-out speakers) and, in the test form, kinds of sound, recorded events (SED) and
recorded instruments."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import music
import numpy as np
import open_sounds
from events import make_events
from holdout import FOLDERS, FORMS, PROGRAMS, SPEAKERS, SPLITS, held_out_folders, held_out_programs
from instruments import instruments
from kinds import kinds
from notes import make_notes
from patches import make_patches
from soundscapes import make_soundscapes
from speech import make_speech, make_words

from ssltoolkit import command_line
from ssltoolkit.data import recipes
from ssltoolkit.data.datadir import write_table
from ssltoolkit.data.scan import find_audio
from ssltoolkit.errors import UserError

POOL_FOLDERS = ("sonic_pi", "librosa_examples", "dirt_samples", "open_sounds")
DEFAULT_POOL = POOL_FOLDERS[:3]
PIECE_SECONDS = 20.0
#: number of voices per word, and of renderings per patch
VOICES = 4


def need(folder: str, option: str) -> Path:
    """The folder of a required option.

    Raises:
        UserError: the option is not given, or there is no such folder.
    """
    if not folder:
        raise UserError(f"--{option} is not given; set {option.upper()} in db.sh or as a variable, see README.md")
    if not Path(folder).is_dir():
        raise UserError(f"--{option} {folder}: no such folder")
    return Path(folder)


def check_programs(speech: int, pieces: int, soundfont: str) -> None:
    """Check that the generators for this run are installed.

    Raises:
        UserError: one is missing; names its Debian package.
    """
    wanted = [("fluidsynth", "fluidsynth")] + ([("espeak-ng", "espeak-ng")] if speech else [])
    for program, package in wanted:
        if shutil.which(program) is None:
            raise UserError(f"{program} is not installed: apt-get install {package}")
    if not Path(soundfont).is_file():
        raise UserError(
            f"--soundfont {soundfont}: no such file; apt-get install timgm6mb-soundfont, or give another General MIDI "
            "soundfont"
        )
    try:
        import mido  # noqa: F401
    except ImportError:
        raise UserError("the package mido, which writes MIDI files, is not installed: pip install mido") from None


def write_clips(folder: Path, paths: Dict[str, str], labels: Dict[str, str], table: str) -> None:
    """Write one split of a clip or pitch task."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "wav.scp", paths)
    write_table(folder / table, labels)


def pool(args: argparse.Namespace) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Every sound of the pool, id -> path, and the groups of generated sounds, id -> group."""
    held, found = held_out_folders(), {}
    groups: Dict[str, str] = {}
    for name in args.pool.split(","):
        root = need(getattr(args, name), name)
        wanted = "permissive" if args.shareable and args.open_sources == "all" else args.open_sources
        for utt, path in (open_sounds.pool_files(root, wanted) if name == "open_sounds" else find_audio(root)).items():
            if name == "dirt_samples" and path.parent.name in held:
                continue
            if args.shareable and name != "open_sounds" and not shareable(name, path):
                print(f"left out, its licence may not allow sharing the model freely: {path}")
                continue
            found[f"{name}-{utt}"] = str(path)
    audio = args.out_dir / "audio"
    if args.speech:
        found.update(make_speech(audio / "speech", args.speech, args.seed, args.nj))
    if args.words:
        spoken, groups = make_words(audio / "words", args.words, VOICES, args.seed, args.nj)
        found.update(spoken)
    if args.patches:
        rendered, patches = make_patches(audio / "patches", args.patches, VOICES, args.seed, args.nj)
        found.update(rendered)
        groups.update(patches)
    if args.music:
        free = [program for program in range(112) if program not in held_out_programs()]
        found.update(
            music.make_music(audio / "music", Path(args.soundfont), free, args.music, PIECE_SECONDS, args.seed, args.nj)
        )
    return found, groups


def shareable(name: str, path: Path) -> bool:
    """Whether a recording is CC0, CC-BY or public domain according to the note next to it; all of sonic_pi is CC0."""
    if name == "sonic_pi":
        return True
    note = path.with_suffix(".txt")
    text = note.read_text(errors="replace").lower() if note.is_file() else ""
    free = any(word in text for word in ("cc-by", "cc by", "creativecommons.org/licenses/by/", "public domain", "cc0"))
    return free and not any(word in text for word in ("by-nc", "noncommercial", "nc 3.0", "by-sa", "by-nd"))


def write_pool(found: Dict[str, str], groups: Dict[str, str], out_dir: Path, valid_share: float, seed: int) -> None:
    """Write ``pretrain`` and ``pretrain_valid`` from the pool, with ``utt2group`` if there are groups."""
    names = sorted(found)
    count = max(2, round(valid_share * len(names)))
    chosen = set(np.random.default_rng([seed, 74]).permutation(names)[:count])
    for name, members in (("pretrain", [n for n in names if n not in chosen]), ("pretrain_valid", sorted(chosen))):
        (out_dir / name).mkdir(parents=True, exist_ok=True)
        write_table(out_dir / name / "wav.scp", {utt: found[utt] for utt in members})
        if groups:
            write_table(out_dir / name / "utt2group", {utt: groups[utt] for utt in members if utt in groups})
        print(f"{name}: {len(members)} files")


def digits(fsdd: Path, form: str, out_dir: Path, per_digit: int) -> None:
    """Write FSDD split by speaker, with the first ``per_digit`` recordings of each digit and speaker."""
    root = fsdd / "recordings" if (fsdd / "recordings").is_dir() else fsdd
    paths = {path.stem: path for path in find_audio(root).values()}
    for split in SPLITS:
        mine = {}
        for stem, path in paths.items():
            digit, _, rest = stem.partition("_")
            speaker, _, number = rest.partition("_")
            if speaker in SPEAKERS[form][split] and int(number) < per_digit:
                mine[stem] = (str(path), digit)
        if not mine:
            raise UserError(
                f"{root}: no recordings of {', '.join(SPEAKERS[form][split])}; expected files such as 7_jackson_32.wav"
            )
        write_clips(
            out_dir / split, {u: p for u, (p, _) in mine.items()}, {u: d for u, (_, d) in mine.items()}, "utt2label"
        )


def folders(dirt_samples: Path, form: str, out_dir: Path) -> None:
    """Write held-out sample folders as classes: 1/2 of the files for training, 1/8 for validation, others for test."""
    order = ("train", "test", "train", "valid", "train", "test", "train", "test")
    rows: Dict[str, Dict[str, tuple]] = {split: {} for split in SPLITS}
    for label in FOLDERS[form]:
        for place, (utt, path) in enumerate(sorted(find_audio(dirt_samples / label).items())):
            rows[order[place % len(order)]][f"{label}-{utt}"] = (str(path), label)
    for split, mine in rows.items():
        write_clips(
            out_dir / split, {u: p for u, (p, _) in mine.items()}, {u: d for u, (_, d) in mine.items()}, "utt2label"
        )


def soundscapes(args: argparse.Namespace, form: str, out_dir: Path) -> None:
    """Write the SED task."""
    for split in SPLITS:
        made = make_soundscapes(args.out_dir / "audio" / "soundscapes", Path(args.dirt_samples), form, split, args.seed)
        (out_dir / split).mkdir(parents=True, exist_ok=True)
        write_table(out_dir / split / "wav.scp", {utt: path for utt, (path, _) in made.items()})
        lines = [
            f"{utt}\t{on:.4f}\t{off:.4f}\t{label}\n"
            for utt, (_, events) in sorted(made.items())
            for on, off, label in events
        ]
        (out_dir / split / "events.tsv").write_text("utt_id\tonset\toffset\tlabel\n" + "".join(lines))


def pitches(args: argparse.Namespace, form: str, out_dir: Path) -> None:
    """Write the pitch task from its NSynth layout, and ``<out_dir>_piano``, the same with one piano for training."""
    for split in SPLITS:
        root = make_notes(args.out_dir / "audio" / "notes", form, split, Path(args.soundfont), args.seed)
        examples = json.loads((root / "examples.json").read_text())
        piano = PROGRAMS[form]["train"][0]
        few = {utt: truth for utt, truth in examples.items() if split != "train" or truth["instrument"] == piano}
        for target, notes in ((out_dir, examples), (out_dir.with_name(f"{out_dir.name}_piano"), few)):
            paths = {utt: str(root / "audio" / f"{utt}.wav") for utt in notes}
            write_clips(target / split, paths, {utt: str(truth["pitch"]) for utt, truth in notes.items()}, "utt2pitch")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out_dir", type=Path, default=Path("data"))
    for name in (*POOL_FOLDERS, "fsdd"):
        options.add_argument(f"--{name}", default="", help=f"folder of {name}")
    options.add_argument("--pool", default=",".join(DEFAULT_POOL), help="folders of the pool, comma-separated")
    options.add_argument(
        "--open_sources",
        default="all",
        help="open_sounds in the pool: all, permissive, share-alike, or comma-separated names of sources",
    )
    options.add_argument(
        "--shareable",
        type=command_line.str2bool,
        default=False,
        help="exclude recordings whose licence is not CC0, CC-BY or public domain",
    )
    options.add_argument("--soundfont", default="/usr/share/sounds/sf2/TimGM6mb.sf2", help="General MIDI soundfont")
    options.add_argument("--speech", type=int, default=600, help="utterances of generated speech in the pool")
    options.add_argument(
        "--words",
        type=int,
        default=0,
        help=f"words by {VOICES} generated voices each, groups of the sampler clip_group (default 0)",
    )
    options.add_argument(
        "--patches",
        type=int,
        default=0,
        help=f"synthesiser patches with {VOICES} renderings each, groups of the sampler clip_group (default 0)",
    )
    options.add_argument(
        "--music", type=int, default=120, help=f"pieces of {PIECE_SECONDS:.0f} s of generated music in the pool"
    )
    options.add_argument("--per_digit", type=int, default=30, help="recordings of each digit and speaker, at most 50")
    options.add_argument(
        "--valid_share", type=float, default=0.05, help="share of the pool for validation of pre-training"
    )
    options.add_argument("--seed", type=int, default=0, help="seed of generated sounds and of the split of the pool")
    options.add_argument("--nj", type=int, default=2, help="parallel generators; the sounds do not depend on it")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Write all data, unless they already exist with these options."""
    args = parser().parse_args(argv)
    unknown = [name for name in args.pool.split(",") if name not in POOL_FOLDERS]
    if unknown:
        raise UserError(f"--pool: {unknown[0]!r} is not one of {', '.join(POOL_FOLDERS)}")
    dirt_samples, fsdd = need(args.dirt_samples, "dirt_samples").resolve(), need(args.fsdd, "fsdd")
    check_programs(args.speech + args.words, args.music, args.soundfont)
    args.out_dir = args.out_dir.resolve()
    done, wanted = (
        args.out_dir / ".done",
        json.dumps({k: str(v) for k, v in vars(args).items() if k != "nj"}, sort_keys=True) + "\n",
    )
    if done.is_file() and done.read_text() == wanted:
        print(f"{args.out_dir}: already there")
        return command_line.EXIT_OK
    for name in (
        "audio",
        "pretrain",
        "pretrain_valid",
        *(
            f"{form}_{task}"
            for form in FORMS
            for task in ("digits", "folders", "words", "soundscapes", "notes", "notes_piano")
        ),
        "test_kinds",
        "test_instruments",
        "test_events",
    ):
        shutil.rmtree(args.out_dir / name, ignore_errors=True)
    write_pool(*pool(args), args.out_dir, args.valid_share, args.seed)
    for form in FORMS:
        digits(fsdd, form, args.out_dir / f"{form}_digits", args.per_digit)
        folders(dirt_samples, form, args.out_dir / f"{form}_folders")
        soundscapes(args, form, args.out_dir / f"{form}_soundscapes")
        pitches(args, form, args.out_dir / f"{form}_notes")
        if args.open_sounds:
            recipes.write_set(
                args.out_dir / f"{form}_words", open_sounds.words(need(args.open_sounds, "open_sounds"), form)
            )
    if args.open_sounds:  # these tasks have only a test form: nothing was developed on them
        recipes.write_set(args.out_dir / "test_kinds", kinds(Path(args.open_sounds)))
        recipes.write_set(args.out_dir / "test_instruments", instruments(Path(args.open_sounds)))
        for split, utts in make_events(Path(args.open_sounds), args.out_dir / "audio" / "events", args.seed).items():
            recipes.write_set(args.out_dir / "test_events" / split, utts)
    done.write_text(wanted)
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
