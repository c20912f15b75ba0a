"""Data directories from folders of audio."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.data.audio import EXTENSIONS, UNREAD_EXTENSIONS
from ssltoolkit.data.contents import is_system_file
from ssltoolkit.data.datadir import write_table
from ssltoolkit.errors import UserError

PathLike = Union[str, Path]
#: list of audio files that are left out, with the reason
UNREAD = "unread_audio.txt"
FORMAT, BROKEN, NAME, SHUT = (
    "format that cannot be read",
    "broken link or no file",
    "name with line breaks or not in UTF-8",
    "no permission to look into it",
)
SYSTEM = "system file or hidden"
REMEDIES = {
    FORMAT: "convert them, each like this: ffmpeg -i a{ending} a.flac",
    BROKEN: "fix or remove them",
    NAME: "rename them",
    SHUT: "give yourself the right to read them",
    SYSTEM: "nothing needs to be done (what macOS and Windows add, and names that begin with a dot)",
}


def find_audio(folder: PathLike, unread: Optional[Path] = None) -> Dict[str, Path]:
    """Find every audio file below ``folder``. Ids are unique and made from the relative path: ``drums/kick 1.wav`` is
    ``drums-kick_1``.

    Args:
        folder: folder to search recursively.
        unread: where to list files that are left out, one ``path<TAB>reason`` per line: unsupported formats, broken
            links and other non-files, names that no table can hold, folders without permission, system files. Each kind
            also gives a warning.

    Raises:
        UserError: no such folder, or no audio file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder that holds your audio files")
    files: List[Path] = []
    left_out: List[Tuple[Path, str]] = []
    shut: List[str] = []
    for path in sorted(
        path for path in walk_files(folder, shut.append) if path.suffix.lower() in EXTENSIONS + UNREAD_EXTENSIONS
    ):
        reason = SYSTEM if is_system_file(path.relative_to(folder)) else _fault(path)
        if reason:
            left_out.append((path, reason))
        else:
            files.append(path)
    left_out += [(Path(name), SHUT) for name in sorted(shut)]
    _report_left_out(left_out, unread)
    if not files:
        raise UserError(f"{folder}: no audio files below it (looked for {', '.join(EXTENSIONS)})")
    found: Dict[str, Path] = {}
    for path in files:
        stem = re.sub(r"\s+", "_", "-".join(path.relative_to(folder).with_suffix("").parts))
        name = stem if stem not in found else f"{stem}{path.suffix.replace('.', '-')}"
        number = 2
        while name in found:
            name, number = f"{stem}-{number}", number + 1
        found[name] = path.resolve()
    return found


def _fault(path: Path) -> str:
    """Reason to leave out an audio file; empty to keep it."""
    if not os.path.isfile(path):
        return BROKEN
    if path.suffix.lower() in UNREAD_EXTENSIONS:
        return FORMAT
    return "" if _fits_a_line(str(path.resolve())) else NAME


def _report_left_out(left_out: Sequence[Tuple[Path, str]], listed: Optional[Path]) -> None:
    """Print which files are left out and why, one line per reason, and list them in a file."""
    where = ""
    if listed is not None:
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.unlink(missing_ok=True)
        if left_out:
            listed.write_text("".join(f"{_printable(path)}\t{reason}\n" for path, reason in left_out), encoding="utf-8")
            where = f"; listed in {listed}"
    for reason, remedy in REMEDIES.items():
        paths = [path for path, why in left_out if why == reason]
        if paths:
            what = "folder(s)" if reason == SHUT else "audio file(s)"
            endings = Counter(path.suffix.lower() for path in paths).most_common()
            counts = (
                " (" + ", ".join(f"{count:,} {ending}" for ending, count in endings) + ")" if reason == FORMAT else ""
            )
            remedy = remedy.format(ending=endings[0][0])
            print(
                f"warning: {len(paths):,} {what} left out: {reason}{counts}, first {_printable(paths[0])}; "
                f"{remedy}{where}",
                file=sys.stderr,
            )


def _printable(path: Path) -> str:
    """A path on one line of UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\r", "\\r")


def _fits_a_line(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not set(name) & set("\n\r")


def walk_files(folder: Path, shut: Callable[[str], None] = lambda name: None) -> Iterator[Path]:
    """Files below ``folder``, following links to folders; ``shut`` is called with the name of unreadable folders."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=lambda error: shut(error.filename)):
        seen.add(os.path.realpath(root))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(root, name)) not in seen]
        yield from (Path(root) / name for name in names)


def write_pool(
    audio_dir: PathLike, out_dir: PathLike, exclude: Sequence[Path] = (), valid_share: float = 0.05, seed: int = 0
) -> Dict[str, int]:
    """Write unlabelled data directories ``pretrain`` and ``pretrain_valid`` of all audio files of a folder.

    Files that are left out are listed in ``pretrain/unread_audio.txt``; see :func:`find_audio`.

    Args:
        audio_dir: folder to search recursively.
        out_dir: folder for the two directories.
        exclude: resolved paths to leave out (test files of an evaluation).
        valid_share: share of the files for validating the pre-training objective; at least 2, at most 1,000 files.
        seed: seed of the split.

    Returns:
        number of files: ``pretrain``, ``pretrain_valid``, ``excluded``.

    Raises:
        UserError: no audio, or too few files for contrastive training.
    """
    found, left_out = find_audio(audio_dir, Path(out_dir) / "pretrain" / UNREAD), set(exclude)
    kept = {utt: str(path) for utt, path in found.items() if path not in left_out}
    if len(kept) < 6:
        raise UserError(f"{audio_dir}: {len(kept)} audio files to pre-train on; contrastive training needs at least 6")
    count = int(np.clip(round(valid_share * len(kept)), 2, 1000))
    chosen = set(np.random.default_rng(seed).permutation(sorted(kept))[:count])
    for name, members in (("pretrain", kept.keys() - chosen), ("pretrain_valid", chosen)):
        (Path(out_dir) / name).mkdir(parents=True, exist_ok=True)
        write_table(Path(out_dir) / name / "wav.scp", {utt: kept[utt] for utt in members})
    return {"pretrain": len(kept) - count, "pretrain_valid": count, "excluded": len(found) - len(kept)}
