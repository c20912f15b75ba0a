"""Recorded instruments: single notes of saxophone, double bass, pianos, guitars and strings, in folds by instrument.

Each fold is tested by a probe that was not trained on its instruments. Pitches come from file names;
:data:`INSTRUMENTS` corrects collections that number octaves differently."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Optional, Tuple

from open_sounds import task_folder, trained_on

from ssltoolkit.data.recipes import Utterance
from ssltoolkit.data.scan import find_audio

_GM = "sfz_discord_gm/Discord_GM/Melodic/"
#: folder of open_sounds -> fold, and semitones between the sounding and the named pitch
INSTRUMENTS: Dict[str, Tuple[int, int]] = {
    "sfz_weresax/alto": (1, 12),
    "sfz_double_bass/arco": (2, 0),
    "sfz_double_bass/pizz": (2, 0),
    "freepats_old_piano": (3, 0),
    f"{_GM}001-Acoustic_Grand_Piano": (3, 0),
    f"{_GM}002-Bright_Acoustic_Piano": (3, 12),
    f"{_GM}003-Electric_Grand_Piano": (3, 0),
    f"{_GM}005-Electric_Piano_1": (3, 0),
    f"{_GM}026-Acoustic_Guitar_steel_": (4, 0),
    f"{_GM}034-Electric_Bass_finger_": (4, -12),
    f"{_GM}045-Tremolo_Strings": (4, 12),
    f"{_GM}046-Pizzicato_Strings": (4, 12),
}
FOLDS = 4
_NUMBERED = re.compile(r"(?:^|[_-])(\d{3})[_-][A-G][#b]?\d")
_NAMED = re.compile(r"(?:^|[_-])([A-Ga-g])([#b]?)(\d)(?=$|[_v.-])")
_STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


def named_pitch(stem: str) -> Optional[int]:
    """MIDI number in a file name, as three digits or as a note name; None if there is none.

    Example:
        >>> named_pitch("046-A#2-FF"), named_pitch("arco_a2_f_down"), named_pitch("arco_noise_1")
        (46, 45, None)
    """
    numbered = _NUMBERED.search(stem)
    if numbered:
        return int(numbered.group(1))
    named = _NAMED.search(stem)
    if named is None:
        return None
    letter, sign, octave = named.groups()
    return 12 * (int(octave) + 1) + _STEPS[letter.lower()] + {"#": 1, "b": -1, "": 0}[sign]


def instruments(root: Path) -> Dict[str, Utterance]:
    """Single notes in four folds by instrument; notes with pitches missing in their training folds are dropped and
    counted.

    Args:
        root: folder of open_sounds.

    Raises:
        UserError: the folder of an instrument is missing.
    """
    found: Dict[str, Tuple[Path, int, int]] = {}
    for name, (fold, above) in INSTRUMENTS.items():
        folder = task_folder(root, name, "recorded instruments")
        for path in find_audio(folder).values():
            pitch = named_pitch(path.stem)
            if path.parent == folder and pitch is not None:
                found[f"{name.replace('/', '-')}-{path.stem}".replace("#", "s")] = (path, pitch + above, fold)
    taught = {
        fold: {pitch for _, pitch, other in found.values() if other in trained_on(fold, FOLDS)}
        for fold in range(1, FOLDS + 1)
    }
    kept = {
        utt: Utterance(path, pitch=pitch, fold=fold)
        for utt, (path, pitch, fold) in found.items()
        if pitch in taught[fold]
    }
    print(
        f"instruments: {len(kept)} notes; {len(found) - len(kept)} of pitches that their training folds lack, left out"
    )
    return kept
