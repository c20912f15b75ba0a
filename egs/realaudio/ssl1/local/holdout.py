"""Sounds excluded from pre-training. Each downstream task has a development and a test form without common sounds.

The default configuration was chosen on development tasks only; the table of results shows test tasks only.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Tuple

FORMS = ("dev", "test")
SPLITS = ("train", "valid", "test")

#: form -> split -> speakers of the Free Spoken Digit Dataset; the test form's test speakers are not in development
SPEAKERS: Dict[str, Dict[str, Tuple[str, ...]]] = {
    "dev": {"train": ("jackson", "nicolas"), "valid": ("theo",), "test": ("lucas",)},
    "test": {"train": ("jackson", "nicolas", "theo"), "valid": ("lucas",), "test": ("george", "yweweler")},
}

#: form -> folders of dirt_samples used as classes of the clip task
FOLDERS: Dict[str, Tuple[str, ...]] = {
    "dev": ("808bd", "808sd", "bd", "cosmicg", "diphone", "dr", "fm", "foo", "mute", "newnotes", "odx", "space"),
    "test": (
        "808cy",
        "alphabet",
        "flick",
        "gretsch",
        "invaders",
        "jungbass",
        "notes",
        "num",
        "psr",
        "sf",
        "stab",
        "tacscan",
    ),
}

#: form -> folders of dirt_samples whose one-shots are the events of the soundscapes; each contains one kind of sound
EVENTS: Dict[str, Tuple[str, ...]] = {
    "dev": ("baa2", "birds", "hh27", "jvbass", "pluck", "sn", "tabla", "trump"),
    "test": ("birds3", "bottle", "can", "hand", "lighter", "metal", "mouth", "sax", "speakspell", "tabla2"),
}

#: form -> folders of dirt_samples whose textures are the backgrounds
BACKGROUNDS: Dict[str, Tuple[str, ...]] = {"dev": ("noise", "outdoor"), "test": ("industrial", "noise2", "wind")}

#: form -> split -> General MIDI programs (from 0) of the pitch task; the test form has every family of instruments.
#: Programs 16, 17, 19, 31 and 78 are excluded: in common soundfonts they sound one or two octaves off, so the label
#: would be wrong.
PROGRAMS: Dict[str, Dict[str, Tuple[int, ...]]] = {
    "dev": {
        "train": (1, 5, 9, 21, 26, 34, 43, 51, 59, 67, 74, 83),
        "valid": (14, 27, 62, 76),
        "test": (3, 20, 28, 45, 64, 69, 75),
    },
    "test": {
        "train": (0, 6, 11, 23, 24, 29, 33, 40, 44, 48, 56, 60, 65, 70, 73, 80),
        "valid": (12, 25, 42, 57, 71),
        "test": (4, 8, 13, 61, 22, 32, 41, 46, 58, 66, 68, 79),
    },
}

#: sources of open_sounds used for downstream tasks; pre-training excludes their recordings, speakers and instruments
TASK_SOURCES: Dict[str, str] = {
    "dspspeech20": "words",
    "arabic_commands": "words",
    "openclonk": "kinds",
    "ufoai": "kinds",
    "minetest_game": "kinds",
    "snap_sounds": "kinds",
    "antum_sounds": "kinds",
    "cdda_cc_sounds": "kinds",
    "tuxpaint_sounds": "kinds",
    "wesnoth": "kinds",
    "opensfx": "kinds",
    "noice": "events",
    "bucklespring": "soundscapes",
    "kbsim_keys": "soundscapes",
    "sfz_weresax": "instruments",
    "sfz_double_bass": "instruments",
    "freepats_old_piano": "instruments",
    "sfz_discord_gm": "instruments",
}


def held_out_folders() -> FrozenSet[str]:
    """Every folder of dirt_samples that is excluded from pre-training."""
    return frozenset(name for table in (FOLDERS, EVENTS, BACKGROUNDS) for names in table.values() for name in names)


def held_out_programs() -> FrozenSet[int]:
    """Every General MIDI program that is excluded from the generated music."""
    return frozenset(program for form in PROGRAMS.values() for programs in form.values() for program in programs)
